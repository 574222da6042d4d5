package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"charm.land/lipgloss/v2"
)

// painter colours words, or leaves them as they are. Colour never carries a
// meaning alone.
type painter struct{ on bool }

func (p painter) style(s lipgloss.Style, text string) string {
	if !p.on || text == "" {
		return text
	}
	return s.Render(text)
}

func (p painter) colour(c, text string) string {
	return p.style(lipgloss.NewStyle().Foreground(lipgloss.Color(c)), text)
}

func (p painter) good(text string) string { return p.colour("2", text) }
func (p painter) warn(text string) string { return p.colour("3", text) }
func (p painter) bad(text string) string {
	return p.style(lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true), text)
}
func (p painter) dim(text string) string  { return p.style(lipgloss.NewStyle().Faint(true), text) }
func (p painter) bold(text string) string { return p.style(lipgloss.NewStyle().Bold(true), text) }

// any gives the same one of six colours to the same text.
func (p painter) any(key, text string) string {
	sum := 0
	for _, r := range key {
		sum = sum*31 + int(r)
	}
	return p.colour([]string{"2", "3", "4", "5", "6", "12"}[uint(sum)%6], text)
}

func fprintf(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...) // a terminal that is gone cannot be told
}

// table writes rows in columns that are as wide as their widest cell.
func table(w io.Writer, p painter, head []string, rows [][]string) {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], lipgloss.Width(cell))
		}
	}
	line := func(row []string, paint func(string) string) {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(paint(cell))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-lipgloss.Width(cell)+3))
			}
		}
		fprintf(w, "%s\n", strings.TrimRight(b.String(), " "))
	}
	line(head, p.dim)
	for _, row := range rows {
		line(row, func(s string) string { return s })
	}
}

// short writes a duration for people: 0.2 s, 12 s, 3 min, 5 h, 2 d.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return age(d)
}

// age writes how long ago something was: 5s, 12m, 3h, 2d.
func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(max(d, 0).Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}
