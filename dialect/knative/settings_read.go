package knative

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hearth-run/hearth/api"
)

// settingsNamespace is where Knative's ConfigMaps are, if there are any.
const settingsNamespace = "knative-serving"

// The ConfigMaps that are read.
const (
	configDefaults      = "config-defaults"
	configAutoscaler    = "config-autoscaler"
	configFeatures      = "config-features"
	configNetwork       = "config-network"
	configDomain        = "config-domain"
	configDeployment    = "config-deployment"
	configGC            = "config-gc"
	configObservability = "config-observability"
)

// configs lists them; config-domain has entries of its own kind.
func configs() [8]string {
	return [...]string{configDefaults, configAutoscaler, configFeatures, configNetwork, configDomain, configDeployment, configGC, configObservability}
}

// entry is one entry of a ConfigMap.
type entry struct {
	name    string
	allowed string // values, with an example
	// read takes a value in; false: it is not allowed. nil: the entry is known,
	// but has no effect here, for the reason that allowed gives.
	read func(s *Settings, v string) bool
}

// readSettings reads the ConfigMaps, which get finds by name. One with a fault
// counts for nothing: what was written before the rules were is no reason to
// stop.
func readSettings(get func(name string) map[string]string) Settings {
	s := DefaultSettings()
	for _, name := range configs() {
		data := get(name)
		if len(data) == 0 {
			continue
		}
		next := s.clone()
		if f := next.take(name, data); len(f.errors) == 0 {
			s = next
		}
	}
	return s
}

// take reads one ConfigMap and says what is wrong with it.
func (s *Settings) take(config string, data map[string]string) *faults {
	f := &faults{}
	if config == configDomain {
		s.takeDomains(f, data)
		return f
	}
	known := map[string]bool{"_example": true}
	var names []string
	for _, e := range entries(config) {
		names = append(names, e.name)
		spellings := []string{e.name}
		if config == configNetwork || config == configDeployment {
			spellings = slices.Compact([]string{camelCase(e.name), e.name}) // the older name first
		}
		for _, name := range spellings {
			v, given := data[name]
			if known[name] = true; !given {
				continue
			}
			switch {
			case e.read == nil:
				f.warn(name+" has no effect here: "+e.allowed, "data."+name)
			case !e.read(s, v):
				f.invalid(strconv.Quote(v), "data."+name, e.allowed)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(data)) {
		if known[name] {
			continue
		}
		f.warn(fmt.Sprintf("%s is no setting of %s", name, config), "data."+name)
		if near := api.Nearest(name, names); near != "" {
			f.warnings[len(f.warnings)-1].details = fmt.Sprintf("did you mean %q?", near)
		}
	}
	if len(f.errors) == 0 {
		s.agree(f, config, data)
	}
	return f
}

// camelCase is the name an entry had before: minScale for min-scale.
func camelCase(name string) string {
	first, rest, _ := strings.Cut(name, "-")
	for part := range strings.SplitSeq(rest, "-") {
		if part != "" {
			first += strings.ToUpper(part[:1]) + part[1:]
		}
	}
	return first
}

// agree checks entries against each other and fills in what follows from them.
func (s *Settings) agree(f *faults, config string, data map[string]string) {
	under := func(name string, v int64, limit string, most int64, hint string) {
		if v > most {
			f.add(fmt.Sprintf("%s (%d) cannot be greater than %s (%d)", name, v, limit, most), hint, "data."+name)
		}
	}
	switch config {
	case configDefaults:
		if _, given := data["revision-response-start-timeout-seconds"]; !given {
			s.ResponseStartTimeoutSeconds = s.TimeoutSeconds
		}
		const raise = "lower it, or raise the other"
		under("revision-timeout-seconds", s.TimeoutSeconds, "max-revision-timeout-seconds", s.MaxTimeoutSeconds, raise+`: max-revision-timeout-seconds: "3600"`)
		under("revision-response-start-timeout-seconds", s.ResponseStartTimeoutSeconds, "revision-timeout-seconds", s.TimeoutSeconds, raise)
		under("revision-idle-timeout-seconds", s.IdleTimeoutSeconds, "revision-timeout-seconds", s.TimeoutSeconds, raise)
		if s.Concurrency > s.MaxConcurrency {
			f.outside(s.Concurrency, 0, s.MaxConcurrency, "data.container-concurrency", raise+`: container-concurrency-max-limit: "2000"`)
		}
		for _, r := range []string{"cpu", "memory", "ephemeral-storage"} {
			want, limit := api.Quantity(s.Resources["requests"][r]), api.Quantity(s.Resources["limits"][r])
			have, _ := want.Milli() // what was read can be read
			if most, _ := limit.Milli(); limit != "" && have > most {
				f.invalid(want, "data.revision-"+r+"-request", "not more than revision-"+r+"-limit, "+string(limit))
			}
		}
	case configAutoscaler:
		s.agreeScale(f, data)
	case configGC:
		if r := s.retention; r.MaxIdle != disabled && r.MinIdle > r.MaxIdle {
			f.add(fmt.Sprintf("min-non-active-revisions(%d) must be <= max-non-active-revisions(%d)", r.MinIdle, r.MaxIdle), `such as min-non-active-revisions: "2", max-non-active-revisions: "20"`, "data.min-non-active-revisions")
		}
	}
}

// agreeScale does so for the autoscaler.
func (s *Settings) agreeScale(f *faults, data map[string]string) {
	s.autoscaler = data
	whole := func(name string, def int64) int64 {
		n, err := strconv.ParseInt(data[name], 10, 32)
		if err != nil {
			return def
		}
		return n
	}
	least, most, first := whole("min-scale", 0), whole("max-scale", 0), whole("initial-scale", 1)
	if first == 0 && !s.ZeroInitialScale {
		f.add("initial-scale = 0, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)", `"1", or set allow-zero-initial-scale: "true"`, "data.initial-scale")
	}
	if l := s.MaxScaleLimit; l > 0 && (most < 1 || most > l) {
		f.add(fmt.Sprintf("max-scale = %d, must be in [1, max-scale-limit(%d)] range", most, l), fmt.Sprintf("such as max-scale: \"%d\"", l), "data.max-scale")
	}
	if most > 0 && least > most {
		f.add(fmt.Sprintf("min-scale (%d) must be less than max-scale (%d)", least, most), "raise max-scale, or 0 for no limit", "data.min-scale")
	}
}

// What follows makes entries.

func whole(name string, least, most int64, example string, to func(*Settings) *int64) entry {
	allowed := fmt.Sprintf("a whole number from %d, such as %q", least, example)
	if most < math.MaxInt32 {
		allowed = fmt.Sprintf("a whole number from %d to %d, such as %q", least, most, example)
	}
	return entry{name, allowed, func(s *Settings, v string) bool {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < least || n > most {
			return false
		}
		*to(s) = n
		return true
	}}
}

func truth(name string, to func(*Settings) *bool) entry {
	return entry{name, `"true" or "false"`, func(s *Settings, v string) bool {
		b, err := strconv.ParseBool(v)
		if err == nil {
			*to(s) = b
		}
		return err == nil
	}}
}

// word is an entry with one of several words, in any case.
func word(name string, of []string, to func(*Settings, string)) entry {
	return entry{name, "one of " + strings.Join(of, ", "), func(s *Settings, v string) bool {
		for _, w := range of {
			if strings.EqualFold(v, w) {
				to(s, w)
				return true
			}
		}
		return false
	}}
}

func length(name string, least, most, step time.Duration, example string, to func(*Settings) *time.Duration) entry {
	text := func(d time.Duration) string { return api.Duration{Duration: d}.Text() }
	allowed := fmt.Sprintf("a length of time of at least %s, such as %q", text(least), example)
	if most > 0 {
		allowed = fmt.Sprintf("a length of time from %s to %s, such as %q", text(least), text(most), example)
	}
	return entry{name, allowed, func(s *Settings, v string) bool {
		d, err := time.ParseDuration(v)
		if err != nil || d < least || most > 0 && d > most || step > 0 && d.Truncate(step) != d {
			return false
		}
		*to(s) = d
		return true
	}}
}

// decimal is an entry of the autoscaler, which reads it by itself.
func decimal(name, allowed string, fits func(float64) bool) entry {
	return entry{name, allowed, func(_ *Settings, v string) bool {
		f, err := strconv.ParseFloat(v, 64)
		return err == nil && !math.IsNaN(f) && fits(f)
	}}
}

// idle are entries without an effect.
func idle(why string, names ...string) (out []entry) {
	for _, n := range names {
		out = append(out, entry{name: n, allowed: why})
	}
	return out
}

// exampleOf lists what a ConfigMap may say, for people.
func exampleOf(config string) string {
	var b strings.Builder
	b.WriteString("# What stands here has no effect; it says what may stand beside it.\n")
	if config == configDomain {
		b.WriteString("# example.com: |\n#   selector: # of the Routes whose hosts end in it; without one it is everybody's\n#     app: shop\n")
	}
	for _, e := range entries(config) {
		if e.read != nil {
			fmt.Fprintf(&b, "# %s: %s\n", e.name, e.allowed)
		}
	}
	return b.String()
}
