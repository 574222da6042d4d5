package api_test

import (
	"testing"
	"time"

	"github.com/hearth-run/hearth/api"
)

func TestRouteConflicts(t *testing.T) {
	route := func(name string, age int, s api.RouteSpec) *api.Route {
		return &api.Route{Metadata: api.Meta{Namespace: "ns", Name: name, CreationTimestamp: api.NewTime(time.Unix(int64(1000-age), 0))}, Spec: s}
	}
	first := route("first", 9, api.RouteSpec{Host: "h", Path: "/a/{x}"})
	again := route("again", 5, api.RouteSpec{Host: "H", Path: "/a/{y}"})
	get := route("get", 4, api.RouteSpec{Host: "h", Path: "/a/{x}", Methods: []string{"GET"}})
	both := route("both", 3, api.RouteSpec{Host: "h", Path: "/a/{z}", Methods: []string{"PUT", "GET"}})
	put := route("put", 2, api.RouteSpec{Host: "h", Path: "/a/{z}", Methods: []string{"PUT"}})
	prefix := route("prefix", 1, api.RouteSpec{Host: "h", Prefix: "/a/{x}"})
	slash := route("slash", 0, api.RouteSpec{Host: "h", Prefix: "/a/{x}/"})
	got := api.RouteLosers([]*api.Route{slash, put, both, again, get, prefix, first})
	want := map[*api.Route]*api.Route{again: first, both: get, slash: prefix}
	for _, r := range []*api.Route{first, again, get, both, put, prefix, slash} {
		if got[r] != want[r] {
			t.Errorf("%s loses to %+v, want %+v", r.Metadata.Name, got[r], want[r])
		}
	}
	if !api.RouteLess(get, first) || !api.RouteLess(first, again) || !api.RouteLess(first, prefix) {
		t.Error("RouteLess does not agree")
	}
	// Of several hosts one is enough to conflict, and the others stay taken.
	many := route("many", 8, api.RouteSpec{Hosts: []string{"g", "h", "G"}, Path: "/a/{x}"})
	late := route("late", 1, api.RouteSpec{Host: "g", Path: "/a/{x}"})
	if got := api.RouteLosers([]*api.Route{late, many, first}); got[many] != first || got[late] != many || got[first] != nil {
		t.Errorf("%v", got)
	}
}
