package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// managerKey names an entry of managed fields.
type managerKey struct{ manager, operation, sub string }

func (k managerKey) String() string { return k.manager + "\x00" + k.operation + "\x00" + k.sub }

func parseManagerKey(s string) managerKey {
	p := strings.SplitN(s, "\x00", 3)
	for len(p) < 3 {
		p = append(p, "")
	}
	return managerKey{p[0], p[1], p[2]}
}

// managed is an object's managed fields, with the time each last changed.
type managed struct {
	sets  fieldpath.ManagedFields
	times map[string]string
}

func readManaged(o object) managed {
	m := managed{sets: fieldpath.ManagedFields{}, times: map[string]string{}}
	l, _ := meta(o)["managedFields"].([]any)
	for _, e := range l {
		entry, ok := e.(object)
		if !ok || text(entry, "manager") == "" {
			continue
		}
		b, err := json.Marshal(entry["fieldsV1"])
		if err != nil {
			continue
		}
		set := fieldpath.NewSet()
		if err := set.FromJSON(bytes.NewReader(b)); err != nil {
			continue // what cannot be read owns nothing
		}
		op := text(entry, "operation")
		k := managerKey{text(entry, "manager"), op, text(entry, "subresource")}.String()
		if was, ok := m.sets[k]; ok {
			set = was.Set().Union(set)
		}
		m.sets[k] = fieldpath.NewVersionedSet(set, fieldpath.APIVersion(text(entry, "apiVersion")), op == "Apply")
		m.times[k] = text(entry, "time")
	}
	return m
}

// writeManaged puts sets into o; entries that did not change since was keep
// their time.
func writeManaged(o object, sets fieldpath.ManagedFields, was managed) error {
	keys := make([]string, 0, len(sets))
	at := now()
	times := map[string]string{}
	owned := serverOwned()
	for k, v := range sets {
		v = fieldpath.NewVersionedSet(v.Set().Difference(owned), v.APIVersion(), v.Applied())
		sets[k] = v
		if v.Set().Empty() {
			continue
		}
		keys = append(keys, k)
		times[k] = at
		if old, ok := was.sets[k]; ok && old.Set().Equals(v.Set()) && was.times[k] != "" {
			times[k] = was.times[k]
		}
	}
	slices.SortFunc(keys, func(a, b string) int {
		// Appliers first, then by time, as people expect to read them.
		ka, kb := parseManagerKey(a), parseManagerKey(b)
		if ka.operation != kb.operation {
			return strings.Compare(ka.operation, kb.operation)
		}
		if c := strings.Compare(times[a], times[b]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	keys = capUpdaters(sets, keys)
	if len(keys) == 0 {
		delete(meta(o), "managedFields")
		return nil
	}
	l := make([]any, 0, len(keys))
	for _, k := range keys {
		b, err := sets[k].Set().ToJSON()
		if err != nil {
			return fmt.Errorf("write managed fields: %w", err)
		}
		fields, err := parse(b)
		if err != nil {
			return err
		}
		mk := parseManagerKey(k)
		e := object{
			"manager": mk.manager, "operation": mk.operation, "apiVersion": string(sets[k].APIVersion()),
			"time": times[k], "fieldsType": "FieldsV1", "fieldsV1": fields,
		}
		if mk.sub != "" {
			e["subresource"] = mk.sub
		}
		l = append(l, e)
	}
	meta(o)["managedFields"] = l
	return nil
}

// capUpdaters merges the oldest ordinary writers into one when there are many.
func capUpdaters(sets fieldpath.ManagedFields, keys []string) []string {
	var updaters, out []string
	for _, k := range keys {
		if mk := parseManagerKey(k); mk.operation == "Update" && mk.sub == "" {
			updaters = append(updaters, k)
		}
	}
	if len(updaters) <= maxUpdaters {
		return keys
	}
	old := updaters[:len(updaters)-maxUpdaters+1]
	ancient := managerKey{"ancient-changes", "Update", ""}.String()
	set := fieldpath.NewSet()
	for _, k := range old {
		set = set.Union(sets[k].Set())
	}
	version := sets[old[0]].APIVersion()
	for _, k := range keys {
		if !slices.Contains(old, k) && k != ancient {
			out = append(out, k)
		}
	}
	sets[ancient] = fieldpath.NewVersionedSet(set, version, false)
	return append(out, ancient)
}
