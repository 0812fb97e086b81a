package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// adapterConfig is the file that every adapter in PEFT's format has.
const adapterConfig = "adapter_config.json"

// Adapter is an adapter that has a name.
type Adapter struct {
	// Name is that of its folder, and Base that of the model that it was trained on.
	Name, Base string
	// Dir is its folder.
	Dir string
}

// adapterFolders are where adapters have names: the folder adapters of the working directory, and the one beside the models.
func (c *Catalogue) adapterFolders() []string {
	return []string{"adapters", filepath.Join(c.Dir, "adapters")}
}

// Adapters lists the adapters of models of the catalogue that have names. Of several of one name it has the one that Locate finds, if any:
// one whose adapter_config.json cannot be read, or names another model, is left out.
func (c *Catalogue) Adapters() ([]Adapter, error) {
	var out []Adapter
	taken := map[string]bool{}
	for _, folder := range c.adapterFolders() {
		entries, err := os.ReadDir(folder)
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return nil, fmt.Errorf("list adapters: %w", err)
		}
		for _, e := range entries {
			a := Adapter{Name: e.Name(), Dir: filepath.Join(folder, e.Name())}
			var config struct {
				Base string `json:"base_model_name_or_path"`
			}
			data, err := os.ReadFile(filepath.Join(a.Dir, adapterConfig))
			if err != nil || taken[a.Name] {
				continue
			}
			taken[a.Name] = true
			if json.Unmarshal(data, &config) != nil {
				continue
			}
			if a.Base = config.Base; slices.ContainsFunc(c.Models, func(m Model) bool { return m.Name == a.Base }) {
				out = append(out, a)
			}
		}
	}
	return out, nil
}

// cutAdapter splits NAME+ADAPTER and finds the adapter's folder, by its path or its name. A model's file may have a plus in its own
// name.
func (c *Catalogue) cutAdapter(s string) (name, dir string, err error) {
	i := strings.LastIndexByte(s, '+')
	if _, err := os.Stat(s); i <= 0 || err == nil {
		return s, "", nil
	}
	name, adapter := s[:i], s[i+1:]
	places := []string{adapter}
	for _, folder := range c.adapterFolders() {
		places = append(places, filepath.Join(folder, adapter))
	}
	for _, dir := range places {
		if _, err := os.Stat(filepath.Join(dir, adapterConfig)); err == nil {
			return name, filepath.Clean(dir), nil
		}
	}
	return "", "", fmt.Errorf("model %s: no adapter %q: there is no %s in %s", s, adapter, adapterConfig, strings.Join(places, ", "))
}
