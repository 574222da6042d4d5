package main

import (
	_ "embed"
	"fmt"
	"strings"
	"time"
)

// notes say why targets are missed, by hand; they end the report.
//
//go:embed notes.md
var notes string

// report is the table.
type report struct {
	machine  []string
	command  string
	took     time.Duration
	sections []*part
}

type part struct {
	section
	rows    []row
	remarks []string
}

// row is one line of the table, its figures already as text.
type row struct {
	what, hearth, peer, ratio, target, verdict string
}

// atMost sets target and verdict: v must not be above t.
func (r *row) atMost(v, t float64) {
	r.target, r.verdict = fmt.Sprintf("≤ %g", t), judge(v <= t)
}

// atLeast sets target and verdict: v must not be below t.
func (r *row) atLeast(v, t float64) {
	r.target, r.verdict = fmt.Sprintf("≥ %.2f", t), judge(v >= t)
}

func judge(ok bool) string {
	if ok {
		return "met"
	}
	return "missed"
}

func (r *report) begin(s section) { r.sections = append(r.sections, &part{section: s}) }

func (r *report) add(l row) {
	p := r.sections[len(r.sections)-1]
	p.rows = append(p.rows, l)
}

func (r *report) remark(format string, args ...any) {
	p := r.sections[len(r.sections)-1]
	p.remarks = append(p.remarks, fmt.Sprintf(format, args...))
}

var header = row{"", "hearth", "against", "ratio", "target", ""}

func (l row) cells() []string {
	return []string{l.what, l.hearth, l.peer, l.ratio, l.target, l.verdict}
}

// text is the table for a terminal.
func (r *report) text() string {
	var b strings.Builder
	widths := make([]int, 6)
	for _, p := range r.sections {
		for _, l := range append(p.rows, header) {
			for i, c := range l.cells() {
				widths[i] = max(widths[i], len([]rune(c)))
			}
		}
	}
	line := func(l row) {
		for i, c := range l.cells() {
			b.WriteString("  " + c + strings.Repeat(" ", widths[i]-len([]rune(c))))
		}
		b.WriteString("\n")
	}
	for _, p := range r.sections {
		fmt.Fprintf(&b, "\n(%s) %s\n", p.name, p.title)
		line(header)
		for _, l := range p.rows {
			line(l)
		}
		for _, m := range p.remarks {
			b.WriteString("  " + m + "\n")
		}
	}
	met, all := r.count()
	fmt.Fprintf(&b, "\n%d of %d targets met; %s\n", met, all, r.took.Round(time.Second))
	return b.String()
}

func (r *report) count() (met, all int) {
	for _, p := range r.sections {
		for _, l := range p.rows {
			switch l.verdict {
			case "met":
				met++
				all++
			case "missed":
				all++
			}
		}
	}
	return met, all
}

// markdown is the table for a file.
func (r *report) markdown() string {
	var b strings.Builder
	met, all := r.count()
	fmt.Fprintf(&b, "# Results\n\nThe last full run, written by `%s` in %s: %d of %d targets met. Both sides of every ratio were measured in turns within this one run;\nfigures are medians of the rounds. Absolute figures move with the machine; the ratios are what to compare.\n\n",
		strings.TrimSpace(r.command), r.took.Round(time.Second), met, all)
	for _, m := range r.machine {
		fmt.Fprintf(&b, "- %s\n", m)
	}
	for _, p := range r.sections {
		fmt.Fprintf(&b, "\n## (%s) %s\n\n|  | hearth | against | ratio | target | |\n|---|---|---|---|---|---|\n", p.name, p.title)
		for _, l := range p.rows {
			b.WriteString("| " + strings.Join(l.cells(), " | ") + " |\n")
		}
		for _, m := range p.remarks {
			b.WriteString("\n" + m + "\n")
		}
	}
	b.WriteString("\n" + notes)
	return b.String()
}
