package strictyaml

import (
	"strings"
	"testing"
)

type doc struct {
	Lists map[string][]struct {
		Name string `yaml:"name"`
	} `yaml:"lists"`
}

func TestDecode(t *testing.T) {
	var d doc
	if err := Decode([]byte("lists:\n  a: [{name: x}]\n"), &d); err != nil || d.Lists["a"][0].Name != "x" {
		t.Errorf("%+v, %v", d, err)
	}
	for name, c := range map[string][2]string{
		"unknown field":           {"lists:\n  a: [{nam: x}]\n", "nam"},
		"the line":                {"lists:\n  a: 3\n", "2 |"},
		"what the parser dies of": {"lists:\n  a: !000\n", "broken"},
	} {
		if err := Decode([]byte(c[0]), &d); err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: error %v, want one with %q", name, err, c[1])
		}
	}
}
