package report

import (
	"fmt"
	"html"
	"math"
	"strings"

	"github.com/nearcache/nearcache-go/benchmarks/measure"
)

// The plots need only bars with their spread, lines through measured points, and grids, so no library is used.
const (
	width, left, right = 760, 70, 150
	top, bottom        = 40, 50
)

var colors = []string{"#1f5fa8", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#148f8f", "#7f8c8d", "#5d4037",
	"#e377c2", "#111111"}

// svg draws a plot.
func svg(p measure.Plot) string {
	if p.Grid != nil {
		return svgGrid(p)
	}
	if len(p.Bars) > 0 {
		return svgBars(p)
	}
	return svgLines(p)
}

type drawing struct{ strings.Builder }

func (d *drawing) open(height int, title string) {
	fmt.Fprintf(d, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" `+
		`font-family="sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(d, `<rect width="100%%" height="100%%" fill="#ffffff"/>`+"\n")
	d.text(float64(width)/2, 20, "middle", `font-size="15" font-weight="bold"`, title)
}

func (d *drawing) text(x, y float64, anchor, more, s string) {
	fmt.Fprintf(d, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, more,
		html.EscapeString(s))
}

func (d *drawing) line(x1, y1, x2, y2 float64, ink, more string) {
	fmt.Fprintf(d, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" %s/>`+"\n", x1, y1, x2, y2, ink, more)
}

func (d *drawing) close() string {
	d.WriteString("</svg>\n")
	return d.String()
}

// scale maps values to coordinates.
type scale struct {
	lo, hi, from, to float64
	log              bool
}

func newScale(lo, hi float64, log bool, from, to float64) scale {
	if log {
		lo, hi = math.Pow(10, math.Floor(math.Log10(lo))), math.Pow(10, math.Ceil(math.Log10(hi)))
		if lo == hi {
			hi *= 10
		}
	} else {
		lo, hi = min(0, lo), hi*1.08
		if hi <= lo {
			hi = lo + 1
		}
	}
	return scale{lo, hi, from, to, log}
}

func (s scale) at(v float64) float64 {
	v = min(max(v, s.lo), s.hi)
	if s.log {
		return s.from + (math.Log10(v)-math.Log10(s.lo))/(math.Log10(s.hi)-math.Log10(s.lo))*(s.to-s.from)
	}
	return s.from + (v-s.lo)/(s.hi-s.lo)*(s.to-s.from)
}

func (s scale) ticks() (out []float64) {
	if s.log {
		for v := s.lo; v <= s.hi*1.0001; v *= 10 {
			out = append(out, v)
		}
		return out
	}
	step := math.Pow(10, math.Floor(math.Log10((s.hi-s.lo)/4)))
	for _, m := range []float64{1, 2, 5, 10} {
		if (s.hi-s.lo)/(step*m) <= 6 {
			step *= m
			break
		}
	}
	for v := math.Ceil(s.lo/step) * step; v <= s.hi; v += step {
		out = append(out, v)
	}
	return out
}

// short formats a number for an axis.
func short(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return fmt.Sprintf("%gM", math.Round(v/1e5)/10)
	case a >= 1e3:
		return fmt.Sprintf("%gk", math.Round(v/1e2)/10)
	}
	return fmt.Sprintf("%.3g", v)
}

func svgBars(p measure.Plot) string {
	const row, names = 26, 230
	height := top + row*len(p.Bars) + bottom
	lo, hi := math.Inf(1), 0.0
	for _, b := range p.Bars {
		lo, hi = min(lo, b.Stat.Min), max(hi, b.Stat.Max)
	}
	s := newScale(lo, hi, p.LogY, names, width-60)
	var d drawing
	d.open(height, p.Title)
	for _, t := range s.ticks() {
		d.line(s.at(t), top, s.at(t), float64(height-bottom), "#dddddd", "")
		d.text(s.at(t), float64(height-bottom+16), "middle", "", short(t))
	}
	d.text((names+width-60)/2, float64(height-12), "middle", "", p.Y)
	for i, b := range p.Bars {
		y := float64(top + row*i)
		ink := colors[0]
		if !strings.HasPrefix(b.Name, "nearcache") {
			ink = colors[6]
		}
		d.text(names-8, y+row/2+4, "end", "", b.Name)
		fmt.Fprintf(&d, `<rect x="%.1f" y="%.1f" width="%.1f" height="%d" fill="%s" fill-opacity="0.8"/>`+"\n",
			s.from, y+4, max(1, s.at(b.Stat.Median)-s.from), row-8, ink)
		d.line(s.at(b.Stat.Min), y+row/2, s.at(b.Stat.Max), y+row/2, "#000000", `stroke-width="1.5"`)
		d.text(s.at(b.Stat.Max)+6, y+row/2+4, "start", "", short(b.Stat.Median))
	}
	return d.close()
}

func svgLines(p measure.Plot) string {
	const height = 380
	x0, x1, y0, y1 := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, l := range p.Lines {
		for _, at := range l.At {
			x0, x1, y0, y1 = min(x0, at[0]), max(x1, at[0]), min(y0, at[1]), max(y1, at[1])
		}
	}
	if math.IsInf(x0, 1) {
		x0, x1, y0, y1 = 1, 2, 1, 2
	}
	if p.Marker != nil {
		y0, y1 = min(y0, p.Marker.At), max(y1, p.Marker.At)
	}
	if p.LogY {
		y0 = max(y0, 1e-9)
	}
	xs, ys := newScale(x0, x1, p.LogX, left, width-right), newScale(y0, y1, p.LogY, height-bottom, top)
	var d drawing
	d.open(height+18*len(p.Lines), p.Title) // the names are below the plot, where no line is
	for _, t := range ys.ticks() {
		d.line(left, ys.at(t), width-right, ys.at(t), "#dddddd", "")
		d.text(left-6, ys.at(t)+4, "end", "", short(t))
	}
	for _, t := range xs.ticks() {
		d.line(xs.at(t), top, xs.at(t), height-bottom, "#eeeeee", "")
		d.text(xs.at(t), height-bottom+16, "middle", "", short(t))
	}
	d.text((left+width-right)/2, height-12, "middle", "", p.X)
	d.text(16, (top+height-bottom)/2, "middle", fmt.Sprintf(`transform="rotate(-90 16 %d)"`, (top+height-bottom)/2),
		p.Y)
	if p.Marker != nil {
		d.line(left, ys.at(p.Marker.At), width-right, ys.at(p.Marker.At), "#c0392b", `stroke-dasharray="5 4"`)
		d.text(width-right+6, ys.at(p.Marker.At)+4, "start", `fill="#c0392b"`, p.Marker.Name)
	}
	for i, l := range p.Lines {
		ink := colors[i%len(colors)]
		var points []string
		for _, at := range l.At {
			points = append(points, fmt.Sprintf("%.1f,%.1f", xs.at(at[0]), ys.at(at[1])))
			fmt.Fprintf(&d, `<circle cx="%.1f" cy="%.1f" r="3.5" fill="%s"/>`+"\n", xs.at(at[0]), ys.at(at[1]), ink)
		}
		fmt.Fprintf(&d, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n",
			strings.Join(points, " "), ink)
		fmt.Fprintf(&d, `<rect x="%d" y="%d" width="10" height="10" fill="%s"/>`+"\n", left+10, height+18*i-2, ink)
		d.text(left+26, float64(height+18*i+7), "start", "", l.Name)
	}
	return d.close()
}
