// Package modelstest finds the models of the catalogue for tests.
package modelstest

import (
	"errors"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models"
)

// Path returns where a model of the catalogue lies once `make setup` has pulled it: its file, or its folder if it is made
// of several. The test is skipped if the model is not here, and fails if it is damaged.
func Path(t testing.TB, name string) string {
	t.Helper()
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	path, err := catalogue.Path(t.Context(), name)
	if errors.Is(err, models.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
