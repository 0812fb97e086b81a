// Package strictyaml reads YAML files that people write.
package strictyaml

import (
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
)

// Decode reads data into v. A field that v does not have is an error. Errors show the line.
func Decode(data []byte, v any) (err error) {
	// The library panics on some broken files, such as a tag without a value where a list belongs.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML is broken in a way that its parser does not explain (%v)", r)
		}
	}()
	if err := yaml.UnmarshalWithOptions(data, v, yaml.Strict()); err != nil {
		return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
	}
	return nil
}
