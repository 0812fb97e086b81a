package adapter

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// CardFile is the file that says for people what an adapter was made from.
const CardFile = "README.md"

// card is the text of CardFile, with the head that model hubs read.
func (a *Adapter) card() string {
	i := a.Info
	var b strings.Builder
	fmt.Fprintf(&b, "---\nbase_model: %s\nlibrary_name: peft\n---\n# An adapter of %s\n\n", strconv.Quote(i.Base), i.Base)
	fmt.Fprintf(&b, "LoRA of rank %d, trained by `bmem tune run` in %d steps (program %s) to answer from notes.\n\n", a.Rank, i.Steps, cmp.Or(i.Commit, "unknown"))
	fmt.Fprintf(&b, "- Base model: the GGUF file with SHA-256 `%s`.\n", i.BaseSHA256)
	fmt.Fprintf(&b, "- Prompt: the template `%s` with SHA-256 `%s`, without worked examples.\n", i.Template, i.TemplateHash)
	for _, d := range i.Data {
		fmt.Fprintf(&b, "- Examples: %d of `%s`, SHA-256 `%s`.\n", d.Examples, d.Name, d.SHA256)
	}
	fmt.Fprintf(&b, "- Licence of the examples, and so of the adapter: %s. The base model's licence holds as well.\n", cmp.Or(i.License, "not stated"))
	return b.String()
}
