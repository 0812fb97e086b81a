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

// marks draws what lies between the axes.
type marks figure

func (ms marks) Plot(c draw.Canvas, pl *plot.Plot) {
	p := figure(ms)
	at := func(x, y float64) vg.Point { return vg.Point{X: c.X(pl.X.Norm(x)), Y: c.Y(pl.Y.Norm(y))} }
	grid := draw.LineStyle{Color: parseHue("#e4e4e4"), Width: 0.7}
	if p.y.labels == nil {
		for _, t := range p.y.ticks() {
			y := c.Y(pl.Y.Norm(t.value))
			c.StrokeLine2(grid, c.Min.X, y, c.Max.X, y)
		}
	}
	if p.x.labels == nil {
		for _, t := range p.x.ticks() {
			x := c.X(pl.X.Norm(t.value))
			c.StrokeLine2(grid, x, c.Min.Y, x, c.Max.Y)
		}
	}
	rows := 0 // of bars beside each other
	for _, s := range p.series {
		if s.shape == bar {
			rows++
		}
	}
	row := 0
	for _, s := range p.series {
		h := parseHue(s.hue)
		switch {
		case s.across != nil:
			p.drawAcross(c, pl, s)
			continue
		case s.shape == bar && !p.lying():
			drawBars(c, at, s, 0.8/float64(rows), (float64(row)+0.5)*0.8/float64(rows)-0.4)
			row++
		case s.shape == bar || s.shape == stacked:
			p.drawWide(c, at, s)
		}
		drawLine(c, at, s)
		for _, m := range s.marks {
			p.drawInterval(c, at, m, h)
		}
		for _, m := range s.marks {
			drawGlyph(c, s.shape, at(m.x, m.y), h)
		}
	}
	for _, s := range p.series { // above all else
		for _, m := range s.marks {
			drawLabel(c, at(m.x, m.y), m, parseHue(s.hue))
		}
	}
}

func (p figure) drawAcross(c draw.Canvas, pl *plot.Plot, s series) {
	line := s.line()
	if p.lying() {
		x := c.X(pl.X.Norm(*s.across))
		c.StrokeLine2(line, x, c.Min.Y, x, c.Max.Y)
		return
	}
	y := c.Y(pl.Y.Norm(*s.across))
	c.StrokeLine2(line, c.Min.X, y, c.Max.X, y)
	st := style(labelSize, false)
	switch s.side {
	case "end":
		st.XAlign = text.XRight
		c.FillText(st, vg.Point{X: c.Max.X, Y: y + 4}, s.name)
	case "middle":
		st.XAlign = text.XCenter
		c.FillText(st, vg.Point{X: c.Center().X, Y: y + 4}, s.name)
	case "start":
		c.FillText(st, vg.Point{X: c.Min.X + 4, Y: y + 4}, s.name)
	}
}

func fill(c draw.Canvas, h color.Color, a, b vg.Point) {
	c.FillPolygon(h, []vg.Point{a, {X: b.X, Y: a.Y}, b, {X: a.X, Y: b.Y}})
}

func drawBars(c draw.Canvas, at func(x, y float64) vg.Point, s series, wide, offset float64) {
	for _, m := range s.marks {
		x := m.x + offset
		fill(c, parseHue(s.hue), at(x-wide*0.46, 0), at(x+wide*0.46, m.y))
	}
}

// drawWide draws bars that have a slot of the axis of names to themselves.
func (p figure) drawWide(c draw.Canvas, at func(x, y float64) vg.Point, s series) {
	for _, m := range s.marks {
		if p.lying() {
			fill(c, parseHue(s.hue), at(m.base, m.y-0.3), at(m.x, m.y+0.3))
		} else {
			fill(c, parseHue(s.hue), at(m.x-0.36, m.base), at(m.x+0.36, m.y))
		}
	}
}

// line is how the line of a series looks.
func (s series) line() draw.LineStyle {
	l := draw.LineStyle{Color: parseHue(s.hue), Width: 1.5}
	switch s.dash {
	case "dashed":
		l.Dashes = []vg.Length{6, 4}
	case "dotted":
		l.Dashes = []vg.Length{1.5, 3}
	}
	return l
}

func drawLine(c draw.Canvas, at func(x, y float64) vg.Point, s series) {
	if s.dash == "" {
		return
	}
	var pts []vg.Point
	for _, m := range s.marks {
		pts = append(pts, at(m.x, m.y))
	}
	if len(pts) > 1 {
		c.StrokeLines(s.line(), pts)
	}
}

func (p figure) drawInterval(c draw.Canvas, at func(x, y float64) vg.Point, m mark, h color.NRGBA) {
	if m.low >= m.high {
		return
	}
	line := draw.LineStyle{Color: faint(h, 180), Width: 1.2}
	a, b, dx, dy := at(m.x, m.low), at(m.x, m.high), vg.Length(4), vg.Length(0)
	if p.lying() {
		line.Color = faint(parseHue(ink), 180) // on the bar itself
		a, b, dx, dy = at(m.low, m.y), at(m.high, m.y), 0, 4
	}
	c.StrokeLine2(line, a.X, a.Y, b.X, b.Y)
	for _, end := range []vg.Point{a, b} {
		c.StrokeLine2(line, end.X-dx, end.Y-dy, end.X+dx, end.Y+dy)
	}
}

func drawGlyph(c draw.Canvas, s shape, at vg.Point, h color.NRGBA) {
	switch s {
	case circle:
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: color.White, Radius: 5.3, Shape: draw.CircleGlyph{}}, at) // separates marks that overlap
		c.DrawGlyphNoClip(draw.GlyphStyle{Color: h, Radius: 4.5, Shape: draw.CircleGlyph{}}, at)
	case diamond:
		const r = 6
		pts := []vg.Point{{X: at.X - r, Y: at.Y}, {X: at.X, Y: at.Y + r}, {X: at.X + r, Y: at.Y}, {X: at.X, Y: at.Y - r}, {X: at.X - r, Y: at.Y}}
		c.FillPolygon(color.White, pts)
		c.StrokeLines(draw.LineStyle{Color: h, Width: 1.8}, pts)
	}
}

func drawLabel(c draw.Canvas, at vg.Point, m mark, h color.NRGBA) {
	if m.label == "" {
		return
	}
	if m.dx != 0 || m.dy != 0 {
		end := vg.Point{X: at.X + vg.Points(m.dx), Y: at.Y - vg.Points(m.dy)}
		c.StrokeLine2(draw.LineStyle{Color: h, Width: 0.8}, at.X, at.Y, end.X, end.Y)
		at = end
	}
	st := style(labelSize, false)
	st.YAlign = text.YCenter
	near := vg.Length(labelDistance)
	if m.dx != 0 || m.dy != 0 {
		near = 3
	}
	switch m.place {
	case "right":
		at.X, at.Y = at.X+near, at.Y+2
	case "left":
		st.XAlign = text.XRight
		at.X, at.Y = at.X-near, at.Y+2
	case "top":
		st.XAlign, st.YAlign = text.XCenter, text.YBottom
		at.Y += near
	case "bottom":
		st.XAlign, st.YAlign = text.XCenter, text.YTop
		at.Y -= near
	}
	c.FillText(st, at, m.label)
}

// legend has the series that are not named in the drawing itself.
func (p figure) legend() []series {
	var out []series
	all := p.series
	if len(p.panels) > 0 {
		all = p.panels[0].series
	}
	for _, s := range all {
		named := slices.ContainsFunc(s.marks, func(m mark) bool { return m.label == s.name })
		if s.name != "" && !named && (len(s.marks) > 0 || s.across != nil && s.side == "") {
			out = append(out, s)
		}
	}
	return out
}

// drawLegend draws the legend along the bottom and returns its height.
func drawLegend(c draw.Canvas, entries []series) vg.Length {
	const swatch, gap, line = 26, 18, 18
	st := style(labelSize, false)
	rows := [][]series{nil}
	x := 0.0
	for _, s := range entries {
		w := swatch + textWidth(s.name, labelSize) + gap
		if x > 0 && x+w > Width-20 {
			rows, x = append(rows, nil), 0
		}
		x += w
		rows[len(rows)-1] = append(rows[len(rows)-1], s)
	}
	if len(entries) == 0 {
		return 4
	}
	for i, row := range rows {
		total := -float64(gap)
		for _, s := range row {
			total += swatch + textWidth(s.name, labelSize) + gap
		}
		at := vg.Point{X: vg.Points((Width - total) / 2), Y: vg.Points(float64((len(rows)-1-i)*line + 6))}
		for _, s := range row {
			mid := vg.Point{X: at.X + 10, Y: at.Y + 4}
			if s.shape == bar || s.shape == stacked {
				fill(c, parseHue(s.hue), vg.Point{X: at.X + 4, Y: at.Y - 1}, vg.Point{X: at.X + 18, Y: at.Y + 9})
			} else if s.dash != "" {
				c.StrokeLine2(s.line(), at.X, mid.Y, at.X+20, mid.Y)
			}
			drawGlyph(c, s.shape, mid, parseHue(s.hue))
			c.FillText(st, vg.Point{X: at.X + swatch, Y: at.Y}, s.name)
			at.X += vg.Points(swatch + textWidth(s.name, labelSize) + gap)
		}
	}
	return vg.Points(float64(len(rows)*line + 12))
}
