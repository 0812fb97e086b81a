package chart

import (
	"image/color"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

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
