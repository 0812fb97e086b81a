package notebook

import (
	"fmt"
	"html"
	"regexp"
	"strings"

	"github.com/go-json-experiment/json"
)

var (
	showForm = regexp.MustCompile(`^[a-z]+:\S+$`)
	// inlinePNG is an image that stands in the HTML itself.
	inlinePNG = regexp.MustCompile(`(?i)<img[^>]+src\s*=\s*["']?data:image/png;base64,[A-Za-z0-9+/]`)
)

// Shows returns what the notebook declares to show when it is run: the names, such as chart:frontier or table:results,
// that stand in its metadata under budgetmem.shows.
func (nb *Notebook) Shows() ([]string, error) {
	raw, ok := nb.Metadata["budgetmem"]
	if !ok {
		return nil, nil
	}
	var own struct {
		Shows []string `json:"shows"`
	}
	if json.Unmarshal(raw, &own) != nil {
		return nil, fmt.Errorf(`field metadata.budgetmem: want {"shows": ["chart:NAME", "table:NAME"]}`)
	}
	for _, name := range own.Shows {
		if !showForm.MatchString(name) {
			return nil, fmt.Errorf("field metadata.budgetmem.shows: %q is not of the form chart:NAME or table:NAME", name)
		}
	}
	return own.Shows, nil
}

// Missing says of what the notebook declares to show what its outputs do not: an element with the attribute data-show in
// some HTML output, and for charts a PNG in the same output. It returns one phrase each.
func (nb *Notebook) Missing() []string {
	declared, err := nb.Shows()
	if err != nil {
		return []string{err.Error()}
	}
	var missing []string
	for _, name := range declared {
		shown, drawn := nb.shown(name)
		switch {
		case !shown:
			missing = append(missing, name)
		case !drawn && strings.HasPrefix(name, "chart:"):
			missing = append(missing, "the PNG of "+name)
		}
	}
	return missing
}

// shown reports whether an output shows name, and whether one that does holds a PNG.
func (nb *Notebook) shown(name string) (shown, drawn bool) {
	mark := fmt.Sprintf(`data-show="%s"`, html.EscapeString(name))
	for _, c := range nb.Cells {
		for _, o := range c.Outputs {
			page, _ := o.MIME("text/html")
			if !strings.Contains(page, mark) {
				continue
			}
			png, _ := o.MIME("image/png")
			shown, drawn = true, drawn || png != "" || inlinePNG.MatchString(page)
		}
	}
	return shown, drawn
}
