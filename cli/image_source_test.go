package cli

import "testing"

func TestIsImage(t *testing.T) {
	digest := "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for word, want := range map[string]bool{
		"nginx:1.25": true, "ghcr.io/team/shop": true, "localhost:5000/shop": true, "registry.example.com:5000/a/b:v1.2_3": true,
		"nginx" + digest: true, "team/shop:1" + digest: true, "hearth.local/default/shop:1": true,
		"nginx": false, "shop/": false, "./shop": false, "shop/web": false, "hello.js": false, "../x:1": false, "Shop:1": false, "a b:1": false,
		"shop.yaml": false, "/abs/path:1": false, "": false,
	} {
		if got := isImage(word); got != want {
			t.Errorf("%q: %v", word, got)
		}
	}
}

func TestImageSource(t *testing.T) {
	for image, name := range map[string]string{
		"nginx:1.25": "nginx", "registry.example.com:5000/a/my_shop:v1": "my-shop", "ghcr.io/team/shop": "shop",
	} {
		if s, err := imageSource(image, deployFlags{}); err != nil || s.name != name || s.image != image {
			t.Errorf("%s: %+v %v", image, s, err)
		}
	}
	for _, f := range []deployFlags{{runtime: "node"}, {handler: "x"}, {write: true}} {
		if _, err := imageSource("nginx:1", f); err == nil {
			t.Errorf("%+v is accepted", f)
		}
	}
}

func TestServePort(t *testing.T) {
	for text, want := range map[string]map[string]any{
		"9000": {"number": 9000}, "h2c:50051": {"number": 50051, "protocol": "h2c"}, "http:80": {"number": 80, "protocol": "http"},
		"0": nil, "70000": nil, "https:1": nil, "x": nil, "h2c:": nil,
	} {
		got, err := servePort(text)
		if (err != nil) != (want == nil) || len(got) != len(want) || want != nil && (got["number"] != want["number"] || got["protocol"] != want["protocol"]) {
			t.Errorf("%q: %v %v", text, got, err)
		}
	}
}
