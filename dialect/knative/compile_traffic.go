package knative

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hearth-run/hearth/api"
)

// share is a part of a Route's traffic: one revision's. own is its percent of
// what comes to its tag's own address; 0: that of the only one there.
type share struct {
	revision, tag string
	percent, own  int
	latest        bool
}

// badTarget is why a target cannot be served.
type badTarget struct{ status, reason, message string }

// annotationRollout keeps the state of rollouts on a native route.
const annotationRollout = "hearth.run/rollout"

// traffic resolves a Route's targets to revisions that are ready. prior is the
// native route as it is, nil for none, and inEffect whether the gateway has it.
func (s *step) traffic(o *Route, prior *draft, inEffect bool) ([]share, []rolling, *badTarget) {
	var was []rolling
	if prior != nil {
		_ = json.Unmarshal([]byte(prior.m.Annotations[annotationRollout]), &was) // none then
	}
	d := s.set.rolloutDuration(o.Metadata.Annotations)
	spec := judgedSpec(o.Metadata.Annotations, d, &faults{}) // admission found none
	judged := map[string]*api.RolloutStatus{}
	var shares []share
	var rollouts []rolling
	for _, t := range o.Spec.Traffic {
		percent := 0
		if t.Percent != nil {
			percent = int(*t.Percent)
		}
		if t.RevisionName != "" {
			if bad := s.pinned(o, t.RevisionName); bad != nil {
				return nil, nil, bad
			}
			shares = append(shares, share{revision: t.RevisionName, tag: t.Tag, percent: percent})
			continue
		}
		latest, bad := s.latest(t.ConfigurationName)
		if bad != nil {
			return nil, nil, bad
		}
		if _, known := judged[t.ConfigurationName]; !known {
			r := s.judge(spec, was, t.ConfigurationName, latest)
			if judged[t.ConfigurationName] = r; r != nil {
				rollouts = append(rollouts, rolling{Configuration: t.ConfigurationName, Judged: r})
			}
		}
		if r := judged[t.ConfigurationName]; r != nil {
			shares = append(shares, judgedShares(r, percent, t.Tag)...)
			continue
		}
		move := func(w wish) rolling {
			r, wait := advance(find(was, w), w, d, inEffect, s.answers, s.now)
			if wait > 0 {
				s.again(wait)
			}
			rollouts = append(rollouts, r)
			return r
		}
		w := wish{configuration: t.ConfigurationName, tag: t.Tag, latest: latest, percent: percent}
		all := move(w)
		var own rolling
		if t.Tag != "" { // all of its own address's requests move likewise
			w.own, w.percent = true, 100
			own = move(w)
		}
		shares = append(shares, joined(t.Tag, all, own)...)
	}
	return merge(shares), rollouts, nil
}

// joined are the shares of a target that follows the latest revision, that one
// last: of the Route's requests as all says, of its tag's as own says.
func joined(tag string, all, own rolling) (out []share) {
	at := func(revision string) *share {
		i := slices.IndexFunc(out, func(p share) bool { return p.revision == revision })
		if i < 0 {
			i, out = len(out), append(out, share{revision: revision, latest: true})
		}
		return &out[i]
	}
	last := len(all.Shares) - 1 // the latest, of both
	for _, p := range all.Shares[:last] {
		at(p.Revision).percent = p.Percent
	}
	for _, p := range own.Shares {
		x := at(p.Revision)
		if x.tag = tag; own.moving() {
			x.own = p.Percent
		}
	}
	at(all.Shares[last].Revision).percent = all.Shares[last].Percent
	return out
}

func find(list []rolling, w wish) *rolling {
	for i := range list {
		if list[i].Configuration == w.configuration && list[i].Tag == w.tag && list[i].Own == w.own && list[i].Judged == nil {
			return &list[i]
		}
	}
	return nil
}

// answers reports whether a revision can answer calls.
func (s *step) answers(revision string) bool {
	r, _ := get[Revision](s, Revisions, revision)
	return r != nil && r.Metadata.DeletionTimestamp == nil
}

// merge joins shares of the same revision, tag and kind.
func merge(in []share) (out []share) {
next:
	for _, a := range in {
		for i, b := range out {
			if a.revision == b.revision && a.tag == b.tag && a.latest == b.latest {
				out[i].percent += a.percent
				continue next
			}
		}
		out = append(out, a)
	}
	return out
}

// pinned checks a revision that a target names.
func (s *step) pinned(o *Route, name string) *badTarget {
	rev, _ := get[Revision](s, Revisions, name)
	if rev == nil {
		return &badTarget{api.False, "RevisionMissing", fmt.Sprintf("Revision %q referenced in traffic not found.", name)}
	}
	if owner := o.Metadata.Labels[LabelService]; owner != "" && rev.Metadata.Labels[LabelService] != owner {
		return &badTarget{api.False, "RevisionNotOwned", fmt.Sprintf("Revision %q referenced in traffic does not belong to Service %q.", name, owner)}
	}
	ready, _ := rev.Status.Conditions.Get(api.ConditionReady)
	switch ready.Status {
	case api.True:
		return nil
	case api.False:
		return &badTarget{api.False, "RevisionMissing", fmt.Sprintf("Revision %q failed to become ready.", name)}
	}
	return &badTarget{api.Unknown, "RevisionMissing", fmt.Sprintf("Revision %q is not yet ready.", name)}
}

// latest finds the latest ready revision of a Configuration.
func (s *step) latest(configuration string) (string, *badTarget) {
	cfg, _ := get[Configuration](s, Configurations, configuration)
	if cfg == nil {
		return "", &badTarget{api.False, "ConfigurationMissing", fmt.Sprintf("Configuration %q referenced in traffic not found.", configuration)}
	}
	name := cfg.Status.LatestReadyRevisionName
	if name != "" {
		if rev, _ := get[Revision](s, Revisions, name); rev != nil {
			return name, nil
		}
	}
	if ready, _ := cfg.Status.Conditions.Get(api.ConditionReady); ready.Status == api.False {
		return "", &badTarget{api.False, "RevisionMissing", fmt.Sprintf("Configuration %q does not have any ready Revision.", configuration)}
	}
	return "", &badTarget{api.Unknown, "RevisionMissing", fmt.Sprintf("Configuration %q is waiting for a Revision to become ready.", configuration)}
}
