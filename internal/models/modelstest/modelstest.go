// Package modelstest finds the models of the catalogue for tests.
package modelstest

import (
	"errors"
	"testing"

	"github.com/budgetmem/budgetmem/internal/models"
	"github.com/budgetmem/budgetmem/internal/testenv"
)

// Path returns where a model of the catalogue lies once `make setup` has pulled it: its file, or its folder if it is made
// of several. A missing model ends the test by testenv.Missing, a damaged one fails it.
func Path(t testing.TB, name string) string {
	t.Helper()
	catalogue, err := models.Open()
	if err != nil {
		t.Fatal(err)
	}
	path, err := catalogue.Path(t.Context(), name)
	if errors.Is(err, models.ErrMissing) {
		testenv.Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
