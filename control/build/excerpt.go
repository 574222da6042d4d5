package build

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hearth-run/hearth/api"
)

// place is where in the source something is wrong.
type place struct {
	file    string // slash-separated, relative to the source
	line    int    // from 1; 0: unknown
	col     int    // from 1, in characters; 0: unknown
	text    string // the line; empty: unknown
	message string
}

// String is file:line:col: message.
func (p place) String() string {
	s := p.file
	if p.line > 0 {
		s += ":" + strconv.Itoa(p.line)
		if p.col > 0 {
			s += ":" + strconv.Itoa(p.col)
		}
	}
	return s + ": " + p.message
}

// excerpt shows the line with a caret under the column:
//
//	3 │     greeting: 1,,
//	  │                 ^
func (p place) excerpt() string {
	if p.text == "" {
		return ""
	}
	num := strconv.Itoa(p.line)
	out := num + " │ " + p.text
	if p.col == 0 {
		return out
	}
	var pad strings.Builder
	n := 1
	for _, r := range p.text {
		if n >= p.col {
			break
		}
		if r == '\t' {
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
		n++
	}
	for ; n < p.col; n++ { // the end of the line
		pad.WriteByte(' ')
	}
	return out + "\n" + strings.Repeat(" ", len(num)) + " │ " + pad.String() + "^"
}

const maxPlaces = 10

// failed is the error for places, the first of which is its message.
func failed(places []place, log *buildLog) error {
	var d strings.Builder
	for i, p := range places {
		if i == maxPlaces {
			fmt.Fprintf(&d, "and %d more\n", len(places)-maxPlaces)
			break
		}
		if i > 0 {
			fmt.Fprintf(&d, "%s\n", p)
		}
		if x := p.excerpt(); x != "" {
			fmt.Fprintf(&d, "%s\n", x)
		}
	}
	detail := strings.TrimRight(d.String(), "\n")
	log.say("%s\n%s", places[0], detail)
	return &api.Error{Code: api.CodeBuildFailed, Message: places[0].String(), Detail: detail}
}

// readLine returns line n of a file of the source, or "". The file is whatever
// a tool named: nothing outside dir is read.
func readLine(dir, file string, n int) string {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	info, err := root.Stat(filepath.FromSlash(file))
	if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 {
		return ""
	}
	b, err := root.ReadFile(filepath.FromSlash(file))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if n--; n == 0 {
			return strings.TrimRight(line, "\r\n")
		}
	}
	return ""
}

// column turns a byte offset in text, from 0, into a column from 1.
func column(text string, offset int) int {
	return utf8.RuneCountInString(text[:min(max(offset, 0), len(text))]) + 1
}
