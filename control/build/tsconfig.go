package build

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// tsconfig is what of the source's tsconfig.json counts, as text for esbuild:
// the compiler options. Others are not read, neither those of folders above the
// source, which belong to someone else, nor what it extends, which could be any
// file of this machine.
func tsconfig(dir string) string {
	text, err := os.ReadFile(filepath.Join(dir, "tsconfig.json"))
	if err != nil {
		return "{}"
	}
	var c struct {
		CompilerOptions json.RawMessage `json:"compilerOptions,omitempty"`
	}
	if json.Unmarshal(plainJSON(text), &c) != nil {
		return "{}" // an editor complains of it; transpiling does not need it
	}
	out, err := json.Marshal(c)
	if err != nil {
		return "{}"
	}
	return string(out)
}

// plainJSON blanks comments and trailing commas, as tsconfig.json may have them.
func plainJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	comma := -1 // a comma after which nothing came yet
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			start := i
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			out, comma = append(out, text[start:min(i+1, len(text))]...), -1
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			for i += 2; i < len(text) && (text[i] != '/' || text[i-1] != '*'); i++ {
			}
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			out = append(out, c)
		case c == ',':
			comma, out = len(out), append(out, c)
		default:
			if (c == '}' || c == ']') && comma >= 0 {
				out[comma] = ' '
			}
			out, comma = append(out, c), -1
		}
	}
	return out
}
