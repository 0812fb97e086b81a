package notebook

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// pieces of text that meet every rule of the two forms.
var pieces = []string{"", "", "x := 1", "\n", "\n", "\n", "\n\n", "\t", " ", "//", "// ", `\`, "%%", "//%%", "// %%", `//\%%`, "%% --flag=1", "%main", "!ls", "!ls \\\n", "%env A=b",
	"//gonb:", "//gonb:%%", `//\gonb:`, "func main() { //gonb:%%", "}", "%%bash", "//gonb:%%sh\necho", "%%%", "[markdown]", "# Title", "é", "\u2028", "\u0085x", "\r\n", "\r", "\x1c", "<b>&amp;</b>", `"q"`, "`", "日本 😀", "\x00", "\x7f"}

func randomText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(8) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	return b.String()
}

func randomValue(r *rand.Rand, depth int) jsontext.Value {
	switch n := r.IntN(8); {
	case n < 3 || depth == 0:
		return encode(randomText(r))
	case n == 3:
		return jsontext.Value([]string{"null", "true", "1", "-0.5", "1.0", "12345678901234567890", "false"}[r.IntN(7)])
	case n == 4:
		return encode(randomObject(r, depth-1))
	case n == 5:
		return encode([]string{})
	}
	return encode([]jsontext.Value{randomValue(r, depth-1), randomValue(r, depth-1)})
}

func randomObject(r *rand.Rand, depth int) Object {
	o := Object{}
	for range r.IntN(4) {
		o[[]string{"a", "b.c", "x y", "", "id", "é", "jp-MarkdownHeadingCollapsed", "@attachments", "source_hidden", "{", "#"}[r.IntN(11)]] = randomValue(r, depth)
	}
	return o
}

func randomOutput(r *rand.Rand) Output {
	data := Object{}
	for range r.IntN(3) {
		data[[]string{"text/plain", "text/html", "image/svg+xml", "image/png", "application/javascript"}[r.IntN(5)]] = encode(randomText(r))
	}
	if r.IntN(3) == 0 {
		data["application/vnd.own+json"] = randomValue(r, 2)
	}
	fields := Object{}
	switch r.IntN(4) {
	case 0:
		fields = Object{"output_type": encode(Stream), "name": encode([]string{"stdout", "stderr"}[r.IntN(2)]), "text": encode(randomText(r))}
	case 1:
		fields = Object{"output_type": encode(DisplayData), "data": encode(data), "metadata": encode(randomObject(r, 1))}
	case 2:
		fields = Object{"output_type": encode(ExecuteResult), "data": encode(data), "metadata": encode(Object{}), "execution_count": encode(1 + r.IntN(9))}
	case 3:
		fields = Object{"output_type": encode(Error), "ename": encode("ERROR"), "evalue": encode(randomText(r)), "traceback": encode([]string{randomText(r)})}
	}
	return Output{fields}
}

// random returns a notebook of nbformat 4.5 with everything that it may hold.
func random(r *rand.Rand) *Notebook {
	nb := &Notebook{Metadata: randomObject(r, 2), minor: minor}
	for name, value := range defaults() {
		switch r.IntN(3) {
		case 0:
			nb.Metadata[name] = value
		case 1:
			nb.Metadata[name] = encode(map[string]string{"name": "other", "display_name": "Other"})
		}
	}
	for i := range r.IntN(6) {
		c := Cell{Kind: []Kind{Code, Code, Markdown, Raw}[r.IntN(4)], Source: randomText(r), Metadata: randomObject(r, 2)}
		if r.IntN(3) == 0 {
			c.ID = fmt.Sprintf("own-%d", i)
		}
		if r.IntN(3) == 0 {
			c.Metadata["tags"] = encode([]string{"parameters", "raises-exception"}[:r.IntN(3)])
		}
		if c.Kind == Code {
			c.Count = r.IntN(3)
			for range r.IntN(4) {
				c.Outputs = append(c.Outputs, randomOutput(r))
			}
		} else if r.IntN(4) == 0 {
			c.Attachments = Object{"a.png": encode(Object{"image/png": encode("iVBORw0KGgo=")})}
		}
		nb.Cells = append(nb.Cells, c)
	}
	nb.identify()
	return nb
}
