package build

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// makeProgram prepares the source of a program that serves HTTP by itself: what
// package.json, requirements.txt and Gemfile ask for is installed, and the build
// script of package.json is run. Its code is left as it is.
func (j *job) makeProgram(ctx context.Context) error {
	if text, ok := j.readAny("package.json"); ok {
		if err := j.makeNodeProgram(ctx, text); err != nil {
			return err
		}
	}
	if _, ok := j.readAny("requirements.txt"); ok {
		python, err := j.tool(ctx, "python")
		if err != nil {
			return err
		}
		if err := j.installPython(ctx, python); err != nil {
			return err
		}
	}
	if text, ok := j.readAny("Gemfile"); ok {
		return j.installRuby(ctx, text)
	}
	return nil
}

func (j *job) makeNodeProgram(ctx context.Context, text []byte) error {
	if !json.Valid(text) {
		return failed([]place{jsonPlace("package.json", text)}, j.log)
	}
	pkg := readPackage(text)
	builds := pkg.Scripts["build"] != ""
	_, err := os.Lstat(filepath.Join(j.src(), "node_modules"))
	if came := err == nil; came {
		j.log.say("node_modules came with the source; nothing is installed")
	} else if len(pkg.Dependencies) > 0 || builds && len(pkg.Development) > 0 {
		if err := j.installNode(ctx, text, pkg, builds); err != nil {
			return err
		}
	}
	if !builds {
		return nil
	}
	npm, err := j.tool(ctx, "npm")
	if err != nil {
		return err
	}
	env, err := j.npmEnv(ctx)
	if err != nil {
		return err
	}
	if exit, err := j.exec(ctx, "host", env, npm.Path, "run", "build"); err != nil || exit != 0 {
		return orFailed(err, j.toolFailed("npm run build", exit, nil))
	}
	exit, err := j.exec(ctx, "host", env, npm.Path, "prune", "--omit=dev", "--no-audit", "--no-fund", "--no-progress")
	if err != nil || exit != 0 {
		return orFailed(err, j.toolFailed("npm prune", exit, npmWords))
	}
	return nil
}

func orFailed(err, failure error) error {
	if err != nil {
		return err
	}
	return failure
}

// installRuby installs the gems of a Gemfile, unless the host has all of them.
// Without a Gemfile.lock the newest that fit are taken.
func (j *job) installRuby(ctx context.Context, text []byte) error {
	if _, err := os.Lstat(filepath.Join(j.src(), api.RubyPackages)); err == nil {
		j.log.say("%s came with the source; nothing is installed", api.RubyPackages)
		return nil
	}
	bundle, err := j.tool(ctx, "bundle")
	if err != nil {
		return err
	}
	lock, locked := j.readAny("Gemfile.lock")
	id := []any{"bundle", rules, string(text), string(lock), bundle.Version, runtime.GOOS, runtime.GOARCH, j.spec.Env}
	if strings.Contains(string(text), "path:") || strings.Contains(string(text), "gemspec") || !locked {
		id = append(id, j.key) // local gems, and a lock file that is made here
	}
	return j.withDeps(ctx, id, api.RubyPackages, func() error {
		dir := filepath.Join(j.src(), api.RubyPackages)
		env := map[string]string{"BUNDLE_PATH": dir, "BUNDLE_USER_HOME": j.cacheDir("bundle"), "BUNDLE_WITHOUT": "development:test", "BUNDLE_SILENCE_ROOT_WARNING": "true"}
		// The host's gems are enough for many, and need no network.
		exit, err := j.exec(ctx, "none", map[string]string{"BUNDLE_USER_HOME": j.cacheDir("bundle")}, bundle.Path, "lock", "--local")
		if err != nil || exit == 0 {
			return err
		}
		if exit, err = j.exec(ctx, "host", env, bundle.Path, "install", "--quiet"); err != nil || exit != 0 {
			return orFailed(err, j.toolFailed("bundle install", exit, nil))
		}
		return nil
	})
}
