package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// form is how a client wants objects written.
type form int

const (
	formFull form = iota
	formTable
	formPartial // metadata only
)

// accepted reads the Accept header: the first form that is understood.
func accepted(r *http.Request) form {
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		fields := strings.Split(part, ";")
		if m := strings.TrimSpace(fields[0]); m != mediaJSON && m != "*/*" && m != "application/*" {
			continue
		}
		as, group, version := "", "", ""
		for _, f := range fields[1:] {
			k, v, _ := strings.Cut(strings.TrimSpace(f), "=")
			switch k {
			case "as":
				as = v
			case "g":
				group = v
			case "v":
				version = v
			}
		}
		switch {
		case as == "":
			return formFull
		case group != "meta.k8s.io" || version != "v1":
			continue
		case as == "Table":
			return formTable
		case as == "PartialObjectMetadata", as == "PartialObjectMetadataList":
			return formPartial
		}
	}
	return formFull
}

func partial(o object) object {
	return object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": o["metadata"]}
}

// table writes objects as rows. include is Metadata (default), None or Object;
// columns says whether their definitions are wanted.
func table(k api.Kind, objs []object, rev, next, include string, columns bool) object {
	cols := columnsOf(k)
	defs := make([]any, 0, len(cols))
	for _, c := range cols {
		d := object{"name": c.Name, "type": "string", "format": "", "description": c.Path, "priority": int64(0)}
		if c.Name == "Name" {
			d["format"] = "name"
		}
		if c.Type == "integer" {
			d["type"] = "integer"
		}
		if c.Wide {
			d["priority"] = int64(1)
		}
		defs = append(defs, d)
	}
	rows := make([]any, 0, len(objs))
	for _, o := range objs {
		cells := make([]any, len(cols))
		for i, c := range cols {
			cells[i] = tableCell(o, c)
		}
		row := object{"cells": cells}
		switch include {
		case "None":
		case "Object":
			row["object"] = o
		default:
			row["object"] = partial(o)
		}
		rows = append(rows, row)
	}
	m := object{"resourceVersion": rev}
	if next != "" {
		m["continue"] = next
	}
	t := object{"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": m, "rows": rows, "columnDefinitions": defs}
	if !columns {
		t["columnDefinitions"] = nil
	}
	return t
}

// Paths of columns that are computed.
const (
	pathData     = "len(data)"
	pathAge      = "metadata.creationTimestamp"
	pathInvolved = "involvedObject.name"
)

func columnsOf(k api.Kind) []api.Column {
	cols := append([]api.Column{{Name: "Name", Path: "metadata.name"}}, k.Columns...)
	if r := k.Resource(); r == api.Secrets || r == api.ConfigMaps {
		cols = append(cols, api.Column{Name: "Data", Path: pathData, Type: "integer"})
	}
	return append(cols, api.Column{Name: "Age", Path: pathAge, Type: "date"})
}

func tableCell(o object, c api.Column) any {
	if c.Path == pathData {
		d, _ := o["data"].(object)
		b, _ := o["binaryData"].(object)
		return int64(len(d) + len(b))
	}
	v := lookup(o, c.Path)
	if c.Path == pathInvolved {
		return strings.ToLower(text(o, "involvedObject", "kind")) + "/" + cell(v)
	}
	if c.Type == "date" {
		s, _ := v.(string)
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return "<unknown>"
		}
		return age(time.Since(t))
	}
	if n, ok := v.(int64); ok && c.Type == "integer" {
		return n
	}
	return cell(v)
}

// cell writes a value into one line.
func cell(v any) string {
	switch t := v.(type) {
	case nil:
		return ""
	case string:
		return t
	case bool:
		return strconv.FormatBool(t)
	case int64:
		return strconv.FormatInt(t, 10)
	}
	b, _ := json.Marshal(v) // made of JSON
	return string(b)
}

// age writes a length of time in at most two units, coarser as it grows.
func age(d time.Duration) string {
	s := int64(d / time.Second)
	m, h := s/60, s/3600
	day := h / 24
	two := func(a int64, x string, b int64, y string) string {
		if b == 0 {
			return fmt.Sprintf("%d%s", a, x)
		}
		return fmt.Sprintf("%d%s%d%s", a, x, b, y)
	}
	switch {
	case s < 0:
		return "0s"
	case s < 120:
		return fmt.Sprintf("%ds", s)
	case m < 10:
		return two(m, "m", s%60, "s")
	case h < 3:
		return fmt.Sprintf("%dm", m)
	case h < 8:
		return two(h, "h", m%60, "m")
	case h < 48:
		return fmt.Sprintf("%dh", h)
	case day < 8:
		return two(day, "d", h%24, "h")
	case day < 730:
		return fmt.Sprintf("%dd", day)
	}
	return two(day/365, "y", day%365, "d")
}
