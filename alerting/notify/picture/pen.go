package picture

import (
	"fmt"
	"image/color"
	"strings"

	"codeberg.org/go-fonts/liberation/liberationsansbold"
	"codeberg.org/go-fonts/liberation/liberationsansregular"
	xfont "golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Where things are, in pixels from the lower left corner. Phones show the
// picture at half its size: no text is below 16.
const (
	left, right     = 84, Width - 16
	timeLine        = 10 // of the time axis
	stripLow, strip = 38, 22
	low, high       = 66, 204
	legendLine      = 216
	textLine        = 242
	titleLine       = 268
)

// pen draws.
type pen struct {
	image *vgimg.Canvas
	draw.Canvas
	fonts text.Handler
}

// newPen makes an empty picture. The fonts are parsed anew each time: that
// takes less than the drawing, and nothing stays in memory.
func newPen() (*pen, error) {
	var faces font.Collection
	for weight, ttf := range map[xfont.Weight][]byte{xfont.WeightNormal: liberationsansregular.TTF, xfont.WeightBold: liberationsansbold.TTF} {
		f, err := opentype.Parse(ttf)
		if err != nil {
			return nil, fmt.Errorf("parse a font: %w", err)
		}
		faces = append(faces, font.Face{Font: font.Font{Typeface: "Liberation", Weight: weight}, Face: f})
	}
	image := vgimg.NewWith(vgimg.UseWH(Width, Height), vgimg.UseDPI(72)) // a point is a pixel
	return &pen{image, draw.New(image), text.Plain{Fonts: font.NewCache(faces)}}, nil
}

// Colours that people who do not see red and green apart can tell by their
// brightness; the heights in the strip differ too.
func (m mark) colour() color.Color {
	switch m {
	case up:
		return color.RGBA{0x2e, 0x8b, 0x57, 0xff}
	case degraded:
		return color.RGBA{0xf0, 0xa2, 0x02, 0xff}
	case down:
		return color.RGBA{0xb7, 0x1c, 0x1c, 0xff}
	case unknown:
		return color.RGBA{0x8a, 0x8f, 0x98, 0xff}
	default:
		return color.RGBA{0xc4, 0xc8, 0xcf, 0xff}
	}
}

// band is the colour over the whole height of a result without a latency.
func (m mark) band() color.Color {
	if m == down {
		return color.RGBA{0xf6, 0xd5, 0xd5, 0xff}
	}
	return color.RGBA{0xec, 0xee, 0xf1, 0xff}
}

// height is that in the strip.
func (m mark) height() vg.Length {
	switch m {
	case up:
		return strip / 2
	case degraded:
		return strip * 3 / 4
	case down:
		return strip
	case unknown:
		return strip / 4
	default:
		return 2
	}
}

func ink() color.Color  { return color.RGBA{0x1f, 0x23, 0x28, 0xff} }
func pale() color.Color { return color.RGBA{0xd9, 0xdc, 0xe1, 0xff} }

func (p *pen) style(size vg.Length, weight xfont.Weight, c color.Color) draw.TextStyle {
	return draw.TextStyle{Color: c, Font: font.Font{Typeface: "Liberation", Weight: weight, Size: size}, Handler: p.fonts}
}

func (p *pen) rect(c color.Color, x0, y0, x1, y1 vg.Length) {
	p.FillPolygon(c, []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
}

// fitted cuts s where it gets wider than width.
func fitted(s string, style draw.TextStyle, width vg.Length) string {
	runes := []rune(strings.Join(strings.Fields(s), " ")) // one line
	if len(runes) > 200 {                                 // none of them fits
		runes = runes[:200]
	}
	whole := len(runes)
	for len(runes) > 0 {
		s = string(runes)
		if len(runes) < whole {
			s += "…"
		}
		if style.Width(s) <= width {
			return s
		}
		runes = runes[:len(runes)-1]
	}
	return ""
}

// words writes the title, what is below it, and the legend with the counts.
func (p *pen) words(title, sentence string, counts [gap + 1]int) {
	style := p.style(23, xfont.WeightBold, ink())
	p.FillText(style, vg.Point{X: 16, Y: titleLine}, fitted(title, style, right-16))
	style = p.style(18, xfont.WeightNormal, ink())
	p.FillText(style, vg.Point{X: 16, Y: textLine}, fitted(sentence, style, right-16))
	style = p.style(16, xfont.WeightNormal, ink())
	x := vg.Length(left)
	for m, n := range counts {
		if n == 0 {
			continue
		}
		m := mark(m)
		p.rect(m.colour(), x, legendLine, x+12, legendLine+12)
		said := m.legend(n)
		p.FillText(style, vg.Point{X: x + 17, Y: legendLine}, said)
		x += 17 + style.Width(said) + 20
	}
}

// grid draws the axes.
func (p *pen) grid(s scene) {
	line := draw.LineStyle{Color: pale(), Width: 1}
	style := p.style(16, xfont.WeightNormal, ink())
	style.XAlign, style.YAlign = draw.XRight, draw.YCenter
	for _, t := range s.latencies() {
		y := height(s, float64(t))
		p.StrokeLine2(line, left, y, right, y)
		p.FillText(style, vg.Point{X: left - 8, Y: y}, duration(t))
	}
	p.StrokeLine2(line, left, low, right, low)
	style.YAlign = draw.YBottom
	p.FillText(style, vg.Point{X: left - 8, Y: timeLine}, "UTC")
	style.XAlign = draw.XCenter
	ticks, layout := s.times()
	edge := vg.Length(left)
	for _, t := range ticks {
		x, said := across(s.x(t)), t.Format(layout)
		half := style.Width(said) / 2
		p.StrokeLine2(line, x, stripLow-5, x, high)
		if x-half < edge || x+half > Width {
			continue // it would run into the one before, or out of the picture
		}
		edge = x + half + 6
		p.FillText(style, vg.Point{X: x, Y: timeLine}, said)
	}
}

func across(x float64) vg.Length { return left + vg.Length(x)*(right-left) }

func height(s scene, latency float64) vg.Length {
	return low + vg.Length(latency/float64(s.top))*(high-low)
}

// points draws a bar and a piece of the strip for each result.
func (p *pen) points(s scene) {
	half := across(s.x(s.from.Add(s.step)))/2 - left/2
	bar := half
	if half > 2 {
		bar = half * 0.82 // with a little air between them
	}
	for k, pt := range s.points {
		x := across(s.x(pt.at))
		if pt.mark == gap {
			end := vg.Length(right)
			if k+1 < len(s.points) {
				end = across(s.x(s.points[k+1].at)) - half
			}
			p.rect(pt.mark.colour(), x-half, stripLow, max(x, end), stripLow+pt.mark.height())
			continue
		}
		p.rect(pt.mark.colour(), x-bar, stripLow, x+bar, stripLow+pt.mark.height())
		switch {
		case pt.mark > degraded:
			p.rect(pt.mark.band(), x-half, low+1, x+half, high)
		case pt.latency > 0:
			p.rect(pt.mark.colour(), x-bar, low, x+bar, max(low+2, height(s, float64(pt.latency))))
		}
	}
}

// limit draws the line of the limit.
func (p *pen) limit(s scene) {
	if s.limit == 0 {
		return
	}
	y := height(s, float64(s.limit))
	p.StrokeLine2(draw.LineStyle{Color: ink(), Width: 2, Dashes: []vg.Length{8, 5}}, left, y, right, y)
	said := "limit " + duration(s.limit)
	style := p.style(16, xfont.WeightBold, ink())
	style.YAlign = draw.YCenter
	width := style.Width(said)
	p.rect(color.White, left+4, y-10, left+14+width, y+10)
	p.FillText(style, vg.Point{X: left + 9, Y: y}, said)
}
