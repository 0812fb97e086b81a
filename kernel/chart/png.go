package chart

import (
	"bytes"
	"cmp"
	"fmt"
	"image"
	"image/color"
	imagedraw "image/draw"
	"image/png"
	"iter"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"

	imagefont "golang.org/x/image/font"
)

// Sizes of text in CSS pixels, in both drawings.
const (
	titleSize = 14
	labelSize = 12
	tickSize  = 11
)

// style is text in the PNG's font, whose length for one pixel is one point.
func style(size float64, bold bool) text.Style {
	f := font.Font{Typeface: "Liberation", Variant: "Sans", Size: vg.Points(size)}
	if bold {
		f.Weight = imagefont.WeightBold
	}
	return text.Style{Color: parseHue(ink), Font: f, Handler: plot.DefaultTextHandler}
}

// textWidth is the width of the widest line of a text, in pixels. ECharts' own font is about as wide.
func textWidth(s string, size float64) float64 { return style(size, false).Width(s).Points() }

// parseHue reads "#rrggbb".
func parseHue(hue string) color.NRGBA {
	c := color.NRGBA{A: 255}
	if _, err := fmt.Sscanf(hue, "#%02x%02x%02x", &c.R, &c.G, &c.B); err != nil {
		panic("chart: the hue " + hue + " is not #rrggbb") // all hues are constants of this package
	}
	return c
}

func faint(c color.NRGBA, alpha uint8) color.NRGBA {
	c.A = alpha
	return c
}

// plots draws what lies between title and legend.
func (p figure) plots(c draw.Canvas) {
	one := func(p figure, c draw.Canvas, width float64) {
		pl := plot.New()
		pl.BackgroundColor = nil
		p.x.gonum(&pl.X, false, width)
		p.y.gonum(&pl.Y, true, width)
		pl.Add(marks(p))
		pl.Draw(c)
	}
	if p.panels == nil {
		one(p, draw.Crop(c, 0, -66, 0, 0), 660) // the right margin is for labels of the last points
		return
	}
	for i, r := range p.grid() {
		part := figure{x: p.x, y: p.y, series: p.panels[i].series}
		if i > 0 {
			part.y.name = ""
		}
		area := draw.Crop(c, vg.Points(r.x0), 0, 0, 0)
		area.Max.X = c.Min.X + vg.Points(r.x1)
		head := style(labelSize, true)
		head.XAlign = text.XCenter
		area.FillText(head, vg.Point{X: area.Center().X, Y: area.Max.Y - 12}, shorten(p.panels[i].name, labelSize, r.x1-r.x0-20))
		one(part, draw.Crop(area, 0, -10, 0, -18), r.x1-r.x0-44)
	}
}

// image draws the figure with gonum, as a PNG.
func (p figure) image(title string) ([]byte, error) {
	entries := p.legend()
	w, h := vg.Points(Width), vg.Points(float64(p.size()))
	img := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(144)) // two dots a point
	all := draw.New(img)
	heading := style(titleSize, true)
	all.FillText(heading, vg.Point{X: 4, Y: h - 20}, shorten(title, titleSize, Width-60)) // bold is wider
	bottom := drawLegend(all, entries)

	p.plots(draw.Crop(all, 4, -4, bottom, -38))
	var out bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, paletted(img.Image())); err != nil {
		return nil, fmt.Errorf("encode the PNG of %q: %w", title, err)
	}
	return out.Bytes(), nil
}

// paletted keeps the 256 most frequent colours, which on lines and text is all that an eye sees, and halves the file.
func paletted(img image.Image) *image.Paletted {
	size := img.Bounds()
	plain := image.NewRGBA(size)
	imagedraw.Draw(plain, size, img, size.Min, imagedraw.Src)
	count := map[color.RGBA]int{}
	for c, n := range runs(plain) {
		count[c] += n
	}
	colors := slices.SortedFunc(maps.Keys(count), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B), cmp.Compare(a.A, b.A))
	})
	var palette color.Palette
	for _, c := range colors[:min(256, len(colors))] {
		palette = append(palette, c)
	}
	index := map[color.RGBA]uint8{}
	for _, c := range colors {
		index[c] = uint8(palette.Index(c))
	}
	out := image.NewPaletted(size, palette)
	at := 0
	for c, n := range runs(plain) {
		i := index[c]
		for range n {
			out.Pix[at] = i
			at++
		}
	}
	return out
}

// runs yields the colours of an image, row by row, with how many pixels beside each other have them: large areas have one.
func runs(img *image.RGBA) iter.Seq2[color.RGBA, int] {
	return func(yield func(color.RGBA, int) bool) {
		pix := img.Pix
		for len(pix) > 0 {
			n := 4
			for n < len(pix) && bytes.Equal(pix[n:n+4], pix[:4]) {
				n += 4
			}
			if !yield(color.RGBA{pix[0], pix[1], pix[2], pix[3]}, n/4) {
				return
			}
			pix = pix[n:]
		}
	}
}

// gonum sets an axis of a plot.
func (a axis) gonum(to *plot.Axis, vertical bool, width float64) {
	to.Min, to.Max = a.lo, a.hi
	if a.labels != nil {
		to.Min, to.Max = -0.5, float64(len(a.labels))-0.5
		if vertical {
			to.Scale = plot.InvertedScale{Normalizer: plot.LinearScale{}}
		}
	} else if a.log {
		to.Scale = plot.LogScale{}
	}
	to.Padding = 0
	to.LineStyle = draw.LineStyle{Color: parseHue("#999999"), Width: 0.8}
	to.Tick.LineStyle, to.Tick.Length = to.LineStyle, 5
	if a.labels != nil {
		to.Tick.LineStyle.Color = color.Transparent // but the distance stays
	}
	to.Label.Text, to.Label.Padding = a.name, 6
	align := to.Label.TextStyle
	to.Label.TextStyle = style(labelSize, false)
	to.Label.TextStyle.XAlign, to.Label.TextStyle.YAlign = align.XAlign, align.YAlign
	align = to.Tick.Label
	to.Tick.Label = style(tickSize, false)
	to.Tick.Label.XAlign, to.Tick.Label.YAlign = align.XAlign, align.YAlign
	to.Tick.Marker = ticker{a, vertical, width}
}

// ticker gives a plot the ticks of an axis, leaving out names that would overlap.
type ticker struct {
	axis
	vertical bool
	width    float64 // of the plot, in pixels
}

func (t ticker) Ticks(_, _ float64) []plot.Tick {
	ticks := t.ticks()
	every, lines := 1, 0
	if !t.vertical {
		widest := 0.0
		for _, k := range ticks {
			widest = max(widest, textWidth(k.label, tickSize)+10)
			lines = max(lines, strings.Count(k.label, "\n"))
		}
		for float64(every)*t.width < widest*float64(len(ticks)) {
			every++
		}
	}
	var out []plot.Tick
	for i, k := range ticks {
		if i%every == 0 {
			// Labels with equal numbers of lines begin at the same height.
			out = append(out, plot.Tick{Value: k.value, Label: k.label + strings.Repeat("\n", max(0, lines-strings.Count(k.label, "\n")))})
		}
	}
	return out
}
