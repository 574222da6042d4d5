package api_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestValidateScale(t *testing.T) {
	for _, c := range []struct{ scale, want string }{
		{`{}`, ""},
		{`{"auto":{}}`, ""},
		{`{"min":1,"max":5,"auto":{"policy":"knative","metric":"rps","target":0.01,"utilization":100,"window":"1h","panicWindow":1,"panicThreshold":1000,
			"upRate":1.1,"downRate":10,"initial":0,"activation":2,"downDelay":"1h","retention":"1h","grace":0,"burst":-1,"aggregation":"weighted-exponential","zero":false,
			"reserve":[{"schedule":"@daily","instances":5,"duration":"1m"}]}}`, ""},
		{`{"auto":{"metric":"cpu","target":60,"window":"10m"}}`, ""},
		{`{"auto":{"policy":"knative","metric":"memory","target":200}}`, ""},
		{`{"min":3,"max":2}`, "spec.scale.min: 3 is more than spec.scale.max (2) (such as 2)"},
		{`{"auto":{"worth":"200h"}}`, "spec.scale.auto.worth: 200h is not between 0s and 168h (such as 12m)"},
		{`{"auto":{"target":0.001}}`, "spec.scale.auto.target: 0.001 is less than 0.01 (such as 10)"},
		{`{"auto":{"utilization":101}}`, "spec.scale.auto.utilization: 101 is more than 100 (such as 70)"},
		{`{"auto":{"window":"5s"}}`, "spec.scale.auto.window: 5s is not between 6s and 1h (such as 60s)"},
		{`{"auto":{"panicWindow":0.5}}`, "spec.scale.auto.panicWindow: 0.5 is less than 1 (such as 10)"},
		{`{"auto":{"panicThreshold":100}}`, "spec.scale.auto.panicThreshold: 100 is less than 110 (such as 200)"},
		{`{"auto":{"upRate":1}}`, "spec.scale.auto.upRate: 1 is not more than 1 (such as 2)"},
		{`{"auto":{"downRate":0.5}}`, "spec.scale.auto.downRate: 0.5 is not more than 1 (such as 2)"},
		{`{"auto":{"activation":1}}`, "spec.scale.auto.activation: 1 is less than 2 (such as 2)"},
		{`{"min":4,"auto":{"activation":3}}`, "spec.scale.auto.activation: 3 is less than spec.scale.min (4) (such as 4)"},
		{`{"max":4,"auto":{"activation":5}}`, "spec.scale.auto.activation: 5 is more than spec.scale.max (4) (such as 4)"},
		{`{"auto":{"downDelay":"2h"}}`, "spec.scale.auto.downDelay: 2h is not between 0s and 1h (such as 30s)"},
		{`{"auto":{"retention":"61m"}}`, "spec.scale.auto.retention: 1h1m is not between 0s and 1h (such as 5m)"},
		{`{"auto":{"burst":-2}}`, "spec.scale.auto.burst: -2 is neither -1 (any number of calls) nor 0 or more (such as 211)"},
		{`{"auto":{"reserve":[{"schedule":"61 * * * *","instances":1,"duration":"1h"}]}}`,
			`spec.scale.auto.reserve[0].schedule: "61 * * * *" is not a schedule: "61" is no minute (0-59) (five fields are needed, such as 0 8 * * 1-5 (working days at eight))`},
		{`{"auto":{"reserve":[{"schedule":"0 8 * * *","timeZone":"Mars/Base","instances":1,"duration":"1h"}]}}`,
			`spec.scale.auto.reserve[0].schedule: "Mars/Base" is not a time zone (such as Europe/Berlin, or leave it out for UTC)`},
		{`{"max":2,"auto":{"reserve":[{"schedule":"0 8 * * *","instances":3,"duration":"1h"}]}}`,
			"spec.scale.auto.reserve[0].instances: 3 is not between 1 and the most instances there may be (2) (such as 2)"},
		{`{"auto":{"reserve":[{"schedule":"0 8 * * *","instances":3,"duration":"1s"}]}}`,
			"spec.scale.auto.reserve[0].duration: 1s is not between 1m and 168h (such as 2h)"},
	} {
		var s api.Scale
		if err := json.Unmarshal([]byte(c.scale), &s); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range api.ValidateScale("spec.scale", s) {
			got = append(got, e.String())
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.scale, strings.Join(got, "; "), c.want)
		}
	}
}

func TestSchedule(t *testing.T) {
	for _, c := range []struct{ text, zone, after, next string }{
		{"* * * * *", "", "2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"},
		{"0 8 * * 1-5", "", "2026-11-20T08:00:00Z", "2026-11-23T08:00:00Z"},
		{"*/15 9-17/2 * * *", "", "2026-01-01T09:46:00Z", "2026-01-01T11:00:00Z"},
		{"5,10 0 1 jan,JUL *", "", "2026-01-01T00:05:00Z", "2026-01-01T00:10:00Z"},
		{"0 0 29 2 *", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"0 0 13 * fri", "", "2026-11-01T00:00:00Z", "2026-11-06T00:00:00Z"},
		{"0 0 */2 * 7", "", "2026-11-01T00:00:00Z", "2026-11-15T00:00:00Z"},
		{"0 0 * * 7", "", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"@weekly", "", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"},
		{"@yearly", "", "2026-11-21T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"30 8 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T06:30:00Z"},
		{"30 8 * * *", "Europe/Berlin", "2026-12-01T00:00:00Z", "2026-12-01T07:30:00Z"},
		{"30 2 29 3 *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2027-03-29T00:30:00Z"}, // does not exist in 2026
		{"30 2 25 10 *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T00:30:00Z"},
		{"0 * * * *", "America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T06:00:00Z"},  // the hour that comes twice
		{"0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00:00Z", "2018-11-05T02:00:00Z"}, // midnight did not exist
	} {
		s, err := api.ParseSchedule(c.text, c.zone)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		after, err := time.Parse(time.RFC3339, c.after)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(after).UTC().Format(time.RFC3339); got != c.next {
			t.Errorf("%q in %q after %s: %s, want %s", c.text, c.zone, c.after, got, c.next)
		}
	}
	for _, bad := range []string{"", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *", "1-0 * * * *", "*/0 * * * *", "1,, * * * *", "-1 * * * *", "0 0 31 2 *", "+1 * * * *"} {
		if _, err := api.ParseSchedule(bad, ""); !api.IsCode(err, api.CodeInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("0 8 * * 1-5", int64(1_800_000_000))
	f.Add("*/7 2-4 1,31 feb-mar */2", int64(0))
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		s, err := api.ParseSchedule(text, "Europe/Berlin")
		if err != nil {
			return
		}
		at := time.Unix(unix%(1<<33), 0)
		next := s.Next(at)
		if next.IsZero() {
			return // once in more than eight years
		}
		if !next.After(at) || next.Second() != 0 {
			t.Fatalf("%q after %s: %s", text, at, next)
		}
		if again := s.Next(next.Add(-time.Second)); !again.Equal(next) {
			t.Fatalf("%q after %s: %s, but just before that %s", text, at, next, again)
		}
	})
}
