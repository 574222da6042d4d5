package cli

import (
	"bytes"
	"io"
	"io/fs"
	"time"
)

// oneFile is a file system of one file, so that detection sees a single file as
// the whole source.
type oneFile struct {
	name string
	data []byte
	mode fs.FileMode
}

// Open implements fs.FS.
func (o oneFile) Open(name string) (fs.File, error) {
	switch name {
	case o.name:
		return &openFile{o, bytes.NewReader(o.data)}, nil
	case ".":
		return &openDir{o: o}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

// The file's own description.

func (o oneFile) Name() string               { return o.name }
func (o oneFile) Size() int64                { return int64(len(o.data)) }
func (o oneFile) Mode() fs.FileMode          { return o.mode.Perm() }
func (o oneFile) ModTime() time.Time         { return time.Time{} }
func (o oneFile) IsDir() bool                { return false }
func (o oneFile) Sys() any                   { return nil }
func (o oneFile) Type() fs.FileMode          { return 0 }
func (o oneFile) Info() (fs.FileInfo, error) { return o, nil }

type openFile struct {
	o oneFile
	*bytes.Reader
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.o, nil }
func (f *openFile) Close() error               { return nil }

type openDir struct {
	o    oneFile
	read bool
}

func (d *openDir) Stat() (fs.FileInfo, error) { return dirInfo{d.o}, nil }
func (d *openDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: ".", Err: fs.ErrInvalid}
}
func (d *openDir) Close() error { return nil }

// ReadDir implements fs.ReadDirFile.
func (d *openDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if d.read {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	d.read = true
	return []fs.DirEntry{d.o}, nil
}

type dirInfo struct{ oneFile }

func (dirInfo) Name() string      { return "." }
func (dirInfo) Size() int64       { return 0 }
func (dirInfo) Mode() fs.FileMode { return fs.ModeDir | 0o755 }
func (dirInfo) IsDir() bool       { return true }
