package server_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hearth-run/hearth/control/server"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/memory"
)

// BenchmarkAPI measures a write, a read, and a list of 1000 functions.
func BenchmarkAPI(b *testing.B) {
	id := memory.NewIdentity()
	token, err := id.Issue(context.Background(), identity.Caller{Name: "b", Roles: []string{identity.RoleAdmin}}, 0)
	if err != nil {
		b.Fatal(err)
	}
	srv, err := server.New(server.Config{Store: memory.NewStore(), Identity: id})
	if err != nil {
		b.Fatal(err)
	}
	do := func(method, path, body string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", map[string]string{"PATCH": merge}[method])
		w := httptest.NewRecorder()
		if srv.ServeHTTP(w, r); w.Code > 299 {
			b.Fatal(w.Code, w.Body)
		}
	}
	for i := range 1000 {
		text, err := json.Marshal(function(fmt.Sprintf("f%d", i)))
		if err != nil {
			b.Fatal(err)
		}
		do("POST", fnPath, string(text))
	}
	b.Run("get", func(b *testing.B) {
		for b.Loop() {
			do("GET", fnPath+"/f1", "")
		}
	})
	b.Run("patch", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			do("PATCH", fnPath+"/f1", fmt.Sprintf(`{"spec":{"handler":"h%d.run"}}`, i))
		}
	})
	b.Run("list1000", func(b *testing.B) {
		for b.Loop() {
			do("GET", fnPath, "")
		}
	})
}
