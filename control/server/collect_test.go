package server_test

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/store"
	"github.com/hearth-run/hearth/driver/memory"
)

// quiet is a server without a socket, for virtual time.
type quiet struct {
	t     *testing.T
	store store.Store
	srv   *server.Server
	token string
	stop  context.CancelFunc
	ended chan struct{}
}

func newQuiet(t *testing.T, s store.Store) *quiet {
	t.Helper()
	id, tokens := people(t)
	srv, err := server.New(server.Config{Store: s, Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	return &quiet{t: t, store: s, srv: srv, token: tokens["admin"]}
}

func (q *quiet) run() {
	ctx, cancel := context.WithCancel(context.Background())
	q.stop, q.ended = cancel, make(chan struct{})
	go func() {
		defer close(q.ended)
		if err := q.srv.Run(ctx); err != nil {
			q.t.Errorf("Run: %v", err)
		}
	}()
	synctest.Wait()
}

func (q *quiet) halt() {
	q.stop()
	<-q.ended
}

func (q *quiet) want(code int, method, path string, body any) m {
	q.t.Helper()
	text := ""
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			q.t.Fatal(err)
		}
		text = string(b)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(text))
	r.Header.Set("Authorization", "Bearer "+q.token)
	if method == "PATCH" {
		r.Header.Set("Content-Type", merge)
	}
	w := httptest.NewRecorder()
	q.srv.ServeHTTP(w, r)
	var o m
	if err := json.Unmarshal(w.Body.Bytes(), &o); err != nil || w.Code != code {
		q.t.Fatalf("%s %s: %d, want %d: %s", method, path, w.Code, code, w.Body)
	}
	synctest.Wait()
	return o
}

// owned is a ConfigMap that belongs to owners.
func owned(name string, block bool, owners ...m) m {
	c := configMap(name)
	refs := l{}
	for _, o := range owners {
		refs = append(refs, m{"apiVersion": o["apiVersion"], "kind": o["kind"], "name": at(o, "metadata", "name"), "uid": at(o, "metadata", "uid"), "blockOwnerDeletion": block})
	}
	c["metadata"].(m)["ownerReferences"] = refs
	return c
}

func TestCollector(t *testing.T) {
	tests := map[string]func(q *quiet){
		"background": func(q *quiet) {
			f := q.want(201, "POST", fnPath, function("f"))
			child := q.want(201, "POST", cmPath, owned("child", false, f))
			q.want(201, "POST", cmPath, owned("grandchild", false, child))
			q.want(200, "DELETE", fnPath+"/f", nil)
			q.want(404, "GET", cmPath+"/child", nil)
			q.want(404, "GET", cmPath+"/grandchild", nil)
		},
		"one of two owners stays": func(q *quiet) {
			a, b := q.want(201, "POST", fnPath, function("a")), q.want(201, "POST", fnPath, function("b"))
			q.want(201, "POST", cmPath, owned("child", false, a, b))
			q.want(200, "DELETE", fnPath+"/a", nil)
			q.want(200, "GET", cmPath+"/child", nil)
			q.want(200, "DELETE", fnPath+"/b", nil)
			q.want(404, "GET", cmPath+"/child", nil)
		},
		"foreground waits for dependents": func(q *quiet) {
			f := q.want(201, "POST", fnPath, function("f"))
			c := owned("child", true, f)
			c["metadata"].(m)["finalizers"] = l{"example.com/wait"}
			q.want(201, "POST", cmPath, c)
			q.want(200, "DELETE", fnPath+"/f?propagationPolicy=Foreground", nil)
			o := q.want(200, "GET", fnPath+"/f", nil)
			if at(o, "metadata", "deletionTimestamp") == nil || at(q.want(200, "GET", cmPath+"/child", nil), "metadata", "deletionTimestamp") == nil {
				q.t.Fatalf("not being deleted: %v", o)
			}
			q.want(200, "PATCH", cmPath+"/child", m{"metadata": m{"finalizers": nil}})
			q.want(404, "GET", cmPath+"/child", nil)
			q.want(404, "GET", fnPath+"/f", nil)
		},
		"foreground without dependents": func(q *quiet) {
			q.want(201, "POST", fnPath, function("f"))
			q.want(200, "DELETE", fnPath+"/f", m{"propagationPolicy": "Foreground"})
			q.want(404, "GET", fnPath+"/f", nil)
		},
		"orphan": func(q *quiet) {
			f := q.want(201, "POST", fnPath, function("f"))
			q.want(201, "POST", cmPath, owned("child", true, f))
			q.want(200, "DELETE", fnPath+"/f?propagationPolicy=Orphan", nil)
			q.want(404, "GET", fnPath+"/f", nil)
			if o := q.want(200, "GET", cmPath+"/child", nil); at(o, "metadata", "ownerReferences") != nil {
				q.t.Errorf("still owned: %v", o)
			}
		},
		"an owner that never was": func(q *quiet) {
			ghost := function("ghost")
			ghost["metadata"].(m)["uid"] = "none"
			q.want(201, "POST", cmPath, owned("child", false, ghost))
			q.want(404, "GET", cmPath+"/child", nil)
		},
		"an owner of the same name is another": func(q *quiet) {
			f := q.want(201, "POST", fnPath, function("f"))
			q.halt()
			q.want(201, "POST", cmPath, owned("child", false, f))
			q.want(200, "DELETE", fnPath+"/f", nil)
			q.want(201, "POST", fnPath, function("f"))
			q.want(200, "GET", cmPath+"/child", nil)
			q.run()
			q.want(404, "GET", cmPath+"/child", nil)
			q.want(200, "GET", fnPath+"/f", nil)
		},
		"an owner kept elsewhere": func(q *quiet) {
			q.want(201, "POST", cmPath, owned("child", false, m{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": m{"name": "d", "uid": "u"}}))
			q.want(200, "GET", cmPath+"/child", nil)
		},
		"a namespace with its content": func(q *quiet) {
			q.want(201, "POST", nsPath, m{"metadata": m{"name": "shop"}})
			q.want(201, "POST", "/api/v1/namespaces/shop/configmaps", configMap("a"))
			held := configMap("held")
			held["metadata"].(m)["finalizers"] = l{"example.com/wait"}
			q.want(201, "POST", "/api/v1/namespaces/shop/configmaps", held)
			q.want(200, "DELETE", nsPath+"/shop", nil)
			if o := q.want(200, "GET", nsPath+"/shop", nil); at(o, "status", "phase") != "Terminating" {
				q.t.Errorf("got %v", o)
			}
			q.want(404, "GET", "/api/v1/namespaces/shop/configmaps/a", nil)
			if e := q.want(403, "POST", "/api/v1/namespaces/shop/configmaps", configMap("b")); !hasCause(e, "NamespaceTerminating", "") {
				q.t.Errorf("got %v", e)
			}
			q.want(200, "PATCH", "/api/v1/namespaces/shop/configmaps/held", m{"metadata": m{"finalizers": nil}})
			q.want(404, "GET", nsPath+"/shop", nil)
			q.want(403, "DELETE", nsPath+"/default", nil)
		},
		"work begun before a restart is ended": func(q *quiet) {
			f := q.want(201, "POST", fnPath, function("f"))
			q.want(201, "POST", cmPath, owned("child", true, f))
			q.want(201, "POST", nsPath, m{"metadata": m{"name": "shop"}})
			q.want(201, "POST", "/api/v1/namespaces/shop/configmaps", configMap("a"))
			q.halt()
			q.want(200, "DELETE", fnPath+"/f?propagationPolicy=Foreground", nil)
			q.want(200, "DELETE", nsPath+"/shop", nil)
			q.want(200, "GET", fnPath+"/f", nil)
			q2 := newQuiet(q.t, q.store)
			q2.run()
			defer q2.halt()
			q2.want(404, "GET", fnPath+"/f", nil)
			q2.want(404, "GET", cmPath+"/child", nil)
			q2.want(404, "GET", nsPath+"/shop", nil)
			q2.want(404, "GET", "/api/v1/namespaces/shop/configmaps/a", nil)
			q.run()
		},
		"an object in no namespace": func(q *quiet) {
			if _, err := q.store.Apply(context.Background(), store.Key{Resource: api.ConfigMaps, Namespace: "lost", Name: "c"}, []byte(`{"metadata":{"uid":"u"}}`), store.New); err != nil {
				q.t.Fatal(err)
			}
			synctest.Wait()
			q.want(404, "GET", "/api/v1/namespaces/lost/configmaps/c", nil)
		},
		"events expire": func(q *quiet) {
			ev := func(name string) m {
				return m{"metadata": m{"name": name}, "involvedObject": m{"kind": "Function", "name": "f"}}
			}
			const path = "/api/v1/namespaces/default/events"
			q.want(201, "POST", path, ev("old"))
			time.Sleep(40 * time.Minute) // virtual
			q.want(201, "POST", path, ev("young"))
			again := ev("again")
			again["firstTimestamp"], again["lastTimestamp"] = "2000-01-01T00:00:00Z", time.Now().Add(time.Minute).Format(time.RFC3339)
			q.want(201, "POST", path, again)
			time.Sleep(25 * time.Minute)
			synctest.Wait()
			q.want(404, "GET", path+"/old", nil)
			q.want(200, "GET", path+"/young", nil)
			q.want(200, "GET", path+"/again", nil)
			time.Sleep(time.Hour)
			synctest.Wait()
			q.want(404, "GET", path+"/young", nil)
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQuiet(t, memory.NewStore())
				q.run()
				test(q)
				q.halt()
				if err := q.store.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
