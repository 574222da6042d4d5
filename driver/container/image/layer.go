package image

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/hearth-run/hearth/api"
)

// flight is the work on one layer, shared by all who need it.
type flight struct {
	key     string
	present bool // it was there already
	cancel  context.CancelFunc
	waiters int // under Store.mu
	got     atomic.Int64
	done    chan struct{}
	about   about // after done
	err     error
}

// join begins or shares the work on a layer; wait must follow. mine says that
// it was begun here. The blob is part
// of the key: two images may claim the same content for different blobs, and
// what one of them says must not fail the other.
func (s *Store) join(ctx context.Context, l kept, x *session, blob v1.Descriptor) (f *flight, mine bool) {
	key := l.DiffID + " " + blob.Digest.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.work[key]; ok {
		f.waiters++
		return f, false
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f = &flight{key: key, cancel: cancel, waiters: 1, done: make(chan struct{}), present: s.has(l.DiffID)}
	s.work[key] = f
	go func() {
		f.about, f.err = s.layer(work, f, l, x, blob)
		s.mu.Lock()
		delete(s.work, key)
		s.mu.Unlock()
		cancel()
		close(f.done)
	}()
	return f, true
}

// wait waits for f and leaves it. Work that failed for another's sake (its
// credential, or that nobody waited any more) is tried again.
func (s *Store) wait(ctx context.Context, f *flight, mine bool, l kept, x *session, blob v1.Descriptor) (about, error) {
	for {
		select {
		case <-f.done:
			if ctx.Err() != nil || f.err == nil {
				return f.about, f.err
			}
			if mine || !api.IsCode(f.err, api.CodeForbidden) && !errors.Is(f.err, context.Canceled) {
				return about{}, f.err
			}
			f, mine = s.join(ctx, l, x, blob)
		case <-ctx.Done():
			s.mu.Lock()
			f.waiters--
			last := f.waiters == 0
			s.mu.Unlock()
			if last {
				f.cancel()
				<-f.done // nothing of it goes on after Fetch has returned
			}
			return about{}, ctx.Err()
		}
	}
}

// layer sees that a layer is on the disk and returns what it holds.
func (s *Store) layer(ctx context.Context, f *flight, l kept, x *session, blob v1.Descriptor) (about, error) {
	to := s.at("layers", s.layerName(l.DiffID))
	if data, err := os.ReadFile(filepath.Join(to, "layer.json")); err == nil {
		return readAbout(data)
	}
	file, err := s.downloaded(ctx, f, l, x, blob)
	if err != nil {
		return about{}, err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	give, err := take(ctx, s.unpacks)
	if err != nil {
		return about{}, err
	}
	defer give()
	return s.unpackTo(ctx, to, file, l, x.ref)
}

// downloaded is download in its turn: one of a registry that is slow keeps only
// other downloads waiting, and no processor.
func (s *Store) downloaded(ctx context.Context, f *flight, l kept, x *session, blob v1.Descriptor) (*os.File, error) {
	give, err := take(ctx, s.downloads)
	if err != nil {
		return nil, err
	}
	defer give()
	return s.download(ctx, f, l, x, blob)
}

// take waits for one of so many places.
func take(ctx context.Context, places chan struct{}) (give func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// unpackTo unpacks a verified blob beside and moves it to its place.
func (s *Store) unpackTo(ctx context.Context, to string, file *os.File, l kept, ref reference) (about, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return about{}, problem(err)
	}
	tmp, err := os.MkdirTemp(s.at("new"), "layer-")
	if err != nil {
		return about{}, problem(err)
	}
	defer removeAll(tmp) // after the rename there is nothing to remove
	root := filepath.Join(tmp, "fs")
	if err := os.Mkdir(root, 0o755); err != nil {
		return about{}, problem(err)
	}
	a, err := unpack(ctx, root, bufio.NewReaderSize(file, 256<<10), unpackOptions{
		limits: s.o.Limits, overlay: s.o.Overlay, userXattr: s.o.UserXattr, log: s.o.Log,
	})
	if err != nil {
		var own *api.Error
		if errors.As(err, &own) && own.Code != api.CodeDisk {
			own.Message = fmt.Sprintf("%s cannot be unpacked: %s", ref, own.Message)
			return about{}, own
		}
		return about{}, problem(err)
	}
	if a.DiffID != l.DiffID {
		return about{}, api.Errorf(api.CodeChecksum, "a layer of %s unpacks to other content than its configuration says", ref).
			WithHint("build and push the image again")
	}
	data, err := json.Marshal(a)
	if err != nil {
		return about{}, err
	}
	if err := os.WriteFile(filepath.Join(tmp, "layer.json"), data, 0o600); err != nil {
		return about{}, problem(err)
	}
	state, err := os.OpenFile(filepath.Join(tmp, stateFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return about{}, problem(err)
	}
	if s.boot == "" {
		// Nobody could tell later whether the machine went down before it was
		// on the disk.
		err = settle(state)
	} else {
		_, err = state.WriteString(s.boot)
	}
	if err == nil {
		err = os.Rename(tmp, to)
	}
	if err != nil || s.boot == "" {
		if err = errors.Join(err, state.Close()); errors.Is(err, fs.ErrExist) {
			err = nil // another did the same
		}
		return a, problem(err)
	}
	s.settling.Go(func() { s.settle(state) })
	return a, nil
}

// stateFile of a layer says settled once the whole of it is on the disk. Writing
// thousands of files through takes seconds, so a layer is used before: until the
// machine goes down the kernel has all of it. Until then the file names the run
// of the kernel, and the next start drops what an earlier one left so.
const (
	stateFile = "state"
	settled   = "settled                             " // as long as a boot id, to be written over it
)

func (s *Store) settle(state *os.File) {
	if err := errors.Join(settle(state), state.Close()); err != nil {
		s.o.Log.Warn("a layer is not yet on the disk", "err", err)
	}
}

// settle writes everything through in one call, then the mark. It makes no file:
// the layer may be removed meanwhile.
func settle(state *os.File) error {
	if err := syncAll(state); err != nil {
		return err
	}
	if _, err := state.WriteAt([]byte(settled), 0); err != nil {
		return err
	}
	return state.Sync()
}

// download returns the whole, verified blob. A download that breaks goes on
// where it was, also after a restart of hearth; the file's digest is computed
// over all of it in any case.
func (s *Store) download(ctx context.Context, f *flight, l kept, x *session, blob v1.Descriptor) (_ *os.File, err error) {
	name := s.at("partial", blob.Digest.Hex+"-"+l.DiffID[7:23])
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, problem(err)
	}
	defer func() {
		if err != nil {
			file.Close()
		}
		if api.IsCode(err, api.CodeChecksum) || api.IsCode(err, api.CodeDisk) {
			os.Remove(name) // of no use, or in the way of everything else
		}
	}()
	h, err := v1.Hasher(blob.Digest.Algorithm)
	if err != nil {
		return nil, damaged(x.ref, "a layer's digest is of an unknown kind").WithCause(err)
	}
	had, err := io.Copy(h, file) // what an earlier attempt left
	if err != nil {
		return nil, problem(err)
	}
	// When the parts do not belong together it is fetched in one piece.
	for range 2 {
		if had > blob.Size {
			had = 0
			if err := restart(file, h); err != nil {
				return nil, problem(err)
			}
		}
		parts, err := s.rest(ctx, f, x, blob, file, h, had)
		if err != nil {
			return nil, err
		}
		if fmt.Sprintf("%x", h.Sum(nil)) == blob.Digest.Hex {
			f.got.Store(blob.Size)
			return file, nil
		}
		if parts == 1 && had == 0 {
			break
		}
		had = blob.Size + 1
	}
	return nil, wrongDigest("layer", x.ref, blob.Digest)
}

// rest receives what is missing of a blob, in as many parts as it takes.
func (s *Store) rest(ctx context.Context, f *flight, x *session, blob v1.Descriptor, file *os.File, h hash.Hash, size int64) (parts int, err error) {
	f.got.Store(size)
	for try := 1; size < blob.Size; try++ {
		before := size
		size, err = s.receive(ctx, f, x, blob, file, h, size)
		parts++
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return parts, ctx.Err()
		}
		if size > before {
			try = 1 // it moves
		}
		if final(err) || try >= x.limit.Tries {
			return parts, explain(ctx, x.ref, err)
		}
		s.o.Log.InfoContext(ctx, "download goes on", "image", x.ref.String(), "at", size, "of", blob.Size, "err", err)
		select {
		case <-time.After(time.Duration(try*try) * 200 * time.Millisecond):
		case <-ctx.Done():
			return parts, ctx.Err()
		}
	}
	return parts, nil
}

// receive appends what the registry gives from offset on and returns the new
// size. A body that ends early is an error.
func (s *Store) receive(ctx context.Context, f *flight, x *session, blob v1.Descriptor, file *os.File, h hash.Hash, offset int64) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(x.limit.Stall, func() { cancel(errStalled) })
	defer stall.Stop()
	body, from, err := x.blob(ctx, blob.Digest, offset)
	if err != nil {
		return offset, because(ctx, err)
	}
	defer body.Close()
	if from != offset {
		if err := restart(file, h); err != nil {
			return 0, problem(err)
		}
		offset = 0
	}
	buf := make([]byte, 128<<10)
	for {
		n, err := body.Read(buf)
		stall.Reset(x.limit.Stall)
		if int64(n) > blob.Size-offset {
			return offset, wrongDigest("layer", x.ref, blob.Digest)
		}
		if n > 0 {
			if _, err := file.Write(buf[:n]); err != nil {
				return offset, problem(err)
			}
			h.Write(buf[:n])
			offset += int64(n)
			f.got.Store(offset)
		}
		switch {
		case err == io.EOF && offset < blob.Size:
			return offset, io.ErrUnexpectedEOF
		case err == io.EOF || err == nil && offset == blob.Size && n == 0:
			return offset, nil
		case err != nil:
			return offset, because(ctx, err)
		}
	}
}

var errStalled = errors.New("the registry sends nothing any more")

// because prefers why ctx ended to what came of it.
func because(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil && errors.Is(c, errStalled) {
		return c
	}
	return err
}

// final reports whether asking again would give the same answer.
func final(err error) bool {
	var own *api.Error
	if errors.As(err, &own) {
		return true
	}
	c := status(err)
	return c >= 400 && c < 500 && c != http.StatusRequestTimeout && c != http.StatusTooManyRequests
}

func restart(file *os.File, h hash.Hash) error {
	h.Reset()
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}
