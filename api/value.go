package api

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time written as in Go: "90s", "2m", "1h30m".
type Duration struct{ time.Duration }

// Seconds makes a Duration of n seconds.
func Seconds(n int) *Duration { return &Duration{time.Duration(n) * time.Second} }

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.Text()) }

// Text is the shortest way to write d: 2m rather than 2m0s.
func (d Duration) Text() string {
	s := d.Duration.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// UnmarshalJSON implements json.Unmarshaler. A bare number means seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) != nil {
		var n float64
		if err := json.Unmarshal(b, &n); err != nil || n < 0 || n > 1e9 {
			return Errorf(CodeInvalid, "%s is not a duration such as 30s or 2m", b)
		}
		d.Duration = time.Duration(n * float64(time.Second))
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return Errorf(CodeInvalid, "%q is not a duration such as 30s or 2m", s)
	}
	d.Duration = v
	return nil
}

// Or returns d, or v where d is not given.
func (d *Duration) Or(v time.Duration) time.Duration {
	if d == nil {
		return v
	}
	return d.Duration
}

// Quantity is an amount written as in Kubernetes: "128Mi", "1G" (bytes),
// "500m", "2" (processors). The text is kept as it was written.
type Quantity string

// UnmarshalJSON implements json.Unmarshaler. A bare number is accepted.
func (q *Quantity) UnmarshalJSON(b []byte) error {
	s := strings.Trim(string(b), `"`)
	if _, err := Quantity(s).Milli(); err != nil {
		return err
	}
	*q = Quantity(s)
	return nil
}

// Milli is the amount in thousandths, rounded up; 0 for an empty quantity.
func (q Quantity) Milli() (int64, error) {
	if q == "" {
		return 0, nil
	}
	s, factor := string(q), 1000.0
	for _, u := range []struct {
		suffix string
		factor float64
	}{
		{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
		{"m", 1e-3}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
	} {
		if strings.HasSuffix(s, u.suffix) {
			s, factor = strings.TrimSuffix(s, u.suffix), u.factor*1000
			break
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 0 || math.IsNaN(v) || v*factor > math.MaxInt64/2 {
		return 0, Errorf(CodeInvalid, "%q is not a quantity such as 128Mi or 500m", string(q))
	}
	return int64(math.Ceil(v * factor)), nil
}

// Bytes is the amount in whole units, or def where q is empty or malformed.
func (q Quantity) Bytes(def int64) int64 {
	m, err := q.Milli()
	if q == "" || err != nil {
		return def
	}
	return (m + 999) / 1000
}

// IntOrName is a number, or a name that stands for one, such as a port's.
type IntOrName string

// MarshalJSON implements json.Marshaler: digits are written as a number.
func (v IntOrName) MarshalJSON() ([]byte, error) {
	if n := v.Int(); n > 0 || v == "0" {
		return strconv.AppendInt(nil, int64(n), 10), nil
	}
	return json.Marshal(string(v))
}

// UnmarshalJSON implements json.Unmarshaler.
func (v *IntOrName) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		*v = IntOrName(s)
		return nil
	}
	var n int
	if err := json.Unmarshal(b, &n); err != nil {
		return Errorf(CodeInvalid, "%s is neither a number nor a name", b)
	}
	*v = IntOrName(strconv.Itoa(n))
	return nil
}

// Int is the number; 0 for a name.
func (v IntOrName) Int() int {
	n, err := strconv.Atoi(string(v))
	if err != nil {
		return 0
	}
	return n
}
