package api

import "fmt"

func validateTraffic(targets []TrafficTarget) (errs []FieldError) {
	if len(targets) == 0 {
		return nil
	}
	total, tags, latest := 0, map[string]bool{}, 0
	for i, t := range targets {
		p := fmt.Sprintf("spec.traffic[%d]", i)
		if t.Latest == (t.Revision != "") {
			errs = append(errs, FieldError{Path: p, Message: "exactly one of revision and latest is needed", Hint: "such as {latest: true, percent: 90} or {revision: shop-7, percent: 10}"})
		}
		if t.Revision != "" && CheckName(t.Revision) != "" {
			errs = append(errs, FieldError{Path: p + ".revision", Message: fmt.Sprintf("%q is not a revision's name", t.Revision), Hint: "such as shop-7; hearth get revisions lists them"})
		}
		if t.Percent == 0 && t.Tag == "" {
			errs = append(errs, FieldError{Path: p + ".percent", Message: "is needed where there is no tag", Hint: "such as percent: 10"})
		}
		if t.Latest && t.Percent > 0 {
			latest++
		}
		errs = append(errs, checkTag(p+".tag", t.Tag, tags)...)
		total += t.Percent
	}
	if total != 100 {
		errs = append(errs, FieldError{Path: "spec.traffic", Message: fmt.Sprintf("the percents sum to %d, want 100", total), Hint: "such as [{latest: true, percent: 90}, {revision: shop-7, percent: 10}]"})
	}
	if latest > 1 {
		errs = append(errs, FieldError{Path: "spec.traffic", Message: "latest has a share more than once", Hint: "give it one share, and other targets with latest a tag and percent 0"})
	}
	return errs
}

func validateRollout(r *Rollout) (errs []FieldError) {
	if r == nil {
		return nil
	}
	bad := func(path, hint, format string, args ...any) {
		errs = append(errs, FieldError{Path: "spec.rollout" + path, Message: fmt.Sprintf(format, args...), Hint: hint})
	}
	const example = "such as rollout: {steps: [5, 25, 50], interval: 2m, maxErrorPercent: 1}"
	if (len(r.Steps) == 0) == (r.Duration == nil) {
		bad("", example, "exactly one of steps and duration is needed")
	}
	last := 0
	for i, p := range r.Steps {
		if p <= last || p > 100 {
			bad(fmt.Sprintf(".steps[%d]", i), "such as [5, 25, 50]", "%d: steps are percents from 1 to 100, each more than the one before", p)
		}
		last = p
	}
	if len(r.Steps) > 100 {
		bad(".steps", "such as [5, 25, 50]", "%d steps are too many; at most 100", len(r.Steps))
	}
	positive := func(path string, d *Duration) {
		if d != nil && d.Duration <= 0 {
			bad(path, "such as 2m", "must be more than 0")
		}
	}
	positive(".duration", r.Duration)
	positive(".interval", r.Interval)
	positive(".maxLatency", r.MaxLatency)
	if r.Duration != nil && r.Interval != nil {
		bad(".interval", "remove it: the time between two steps follows from the duration", "does not go with duration")
	}
	return errs
}
