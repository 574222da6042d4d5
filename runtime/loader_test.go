package runtime_test

import (
	"encoding/json"
	"testing"
)

func TestHello(t *testing.T) {
	for _, name := range []string{"node", "python"} {
		t.Run(name, func(t *testing.T) {
			i, k := loaded(t, name, "hello", 1)
			var hello struct {
				Version                         int
				Runtime, RuntimeVersion, Loader string
			}
			if err := json.Unmarshal(i.hello, &hello); err != nil || hello.Runtime != name {
				t.Fatalf("hello %+v, %v", hello, err)
			}
			c, body := k.do(t, request{method: "POST", body: `{"name":"Ada"}`, headers: []header{{"content-type", "application/json"}}})
			if c.status != 200 || body != `{"greeting":"Hello, Ada"}` || c.header("content-type") != "application/json" {
				t.Fatalf("%d %v %s", c.status, c.headers, body)
			}
		})
	}
}
