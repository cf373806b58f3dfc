// Command tlogcheck reads a sealed record with the Go project's transparency log packages, which share no
// code with pgwitness, and makes test vectors with them.
//
//	tlogcheck check LOG VERIFIER [CHECKPOINT...]   everything in LOG, and that it extends the CHECKPOINTs
//	tlogcheck vectors                              roots, proofs and notes as JSON
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/torchwood"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	var made any
	var err error
	switch {
	case len(os.Args) >= 4 && os.Args[1] == "check":
		made, err = check(os.Args[2], os.Args[3], os.Args[4:])
	case len(os.Args) == 2 && os.Args[1] == "vectors":
		made, err = vectors()
	default:
		err = fmt.Errorf("usage: tlogcheck check LOG VERIFIER [CHECKPOINT...] | tlogcheck vectors")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tlogcheck:", err)
		os.Exit(1)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", " ")
	if err := out.Encode(made); err != nil {
		panic(err)
	}
}

// files reads tiles from a directory by the paths of c2sp.org/tlog-tiles.
type files string

func (f files) ReadTiles(_ context.Context, tiles []tlog.Tile) ([][]byte, error) {
	var data [][]byte
	for _, tile := range tiles {
		read, err := os.ReadFile(filepath.Join(string(f), torchwood.TilePath(tile)))
		if err != nil {
			return nil, err
		}
		data = append(data, read)
	}
	return data, nil
}

func (f files) SaveTiles([]tlog.Tile, [][]byte) {}

func (f files) ReadEndpoint(_ context.Context, path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(f), path))
}

type checked struct {
	Origin string `json:"origin"`
	Size   int64  `json:"size"`
	Root   string `json:"root"`
	Bytes  int    `json:"bytes"`
	Proofs int    `json:"proofs"`
	Older  int    `json:"older"`
}

func check(log, key string, older []string) (*checked, error) {
	text, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	verifier, err := note.NewVerifier(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, err
	}
	policy := torchwood.ThresholdPolicy(2, torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	head, err := open(filepath.Join(log, "checkpoint"), policy)
	if err != nil {
		return nil, err
	}
	ctx := context.Background()
	client, err := torchwood.NewClient(files(log))
	if err != nil {
		return nil, err
	}
	result := &checked{Origin: head.Origin, Size: head.N, Root: hex.EncodeToString(head.Hash[:])}
	for _, entry := range client.AllEntries(ctx, head.Tree, 0) {
		result.Bytes += len(entry)
	}
	if err := client.Err(); err != nil {
		return nil, err
	}
	for index := int64(0); index < head.N; index += 1 + head.N/50 {
		if _, _, err := client.Entry(ctx, head.Tree, index); err != nil {
			return nil, err
		}
		result.Proofs++
	}
	hashes := torchwood.TileHashReaderWithContext(ctx, head.Tree, files(log))
	for _, path := range older {
		old, err := open(path, policy)
		if err != nil {
			return nil, err
		}
		proof, err := tlog.ProveTree(head.N, old.N, hashes)
		if err != nil {
			return nil, err
		}
		if err := tlog.CheckTree(proof, head.N, head.Hash, old.N, old.Hash); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		result.Older++
	}
	return result, nil
}

func open(path string, policy torchwood.Policy) (torchwood.Checkpoint, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return torchwood.Checkpoint{}, err
	}
	head, _, err := torchwood.VerifyCheckpoint(data, policy)
	return head, err
}

type tree struct {
	Size        int64              `json:"size"`
	Root        string             `json:"root"`
	Inclusion   map[int64][]string `json:"inclusion"`
	Consistency map[int64][]string `json:"consistency"`
}

type signed struct {
	Seed     string `json:"seed"`
	Verifier string `json:"verifier"`
	Text     string `json:"text"`
	Note     string `json:"note"`
}

// vectors makes trees of the entries "leaf 0", "leaf 1", … and notes.
func vectors() (any, error) {
	var trees []tree
	var stored hashes
	for n := int64(0); n < 520; n++ {
		more, err := tlog.StoredHashes(n, fmt.Appendf(nil, "leaf %d", n), stored)
		if err != nil {
			return nil, err
		}
		stored = append(stored, more...)
		size := n + 1
		if size <= 9 || size == 64 || size == 65 || size == 255 || size == 256 || size == 257 || size == 513 || size == 520 {
			made, err := proofs(size, stored)
			if err != nil {
				return nil, err
			}
			trees = append(trees, *made)
		}
	}
	notes, err := sign()
	return map[string]any{"trees": trees, "notes": notes}, err
}

func proofs(size int64, stored hashes) (*tree, error) {
	root, err := tlog.TreeHash(size, stored)
	if err != nil {
		return nil, err
	}
	made := &tree{size, hex.EncodeToString(root[:]), map[int64][]string{}, map[int64][]string{}}
	for at := int64(0); at < size; at += 1 + size/5 {
		included, err := tlog.ProveRecord(size, at, stored)
		if err != nil {
			return nil, err
		}
		made.Inclusion[at] = texts(included)
		extends, err := tlog.ProveTree(size, at+1, stored)
		if err != nil {
			return nil, err
		}
		made.Consistency[at+1] = texts(extends)
	}
	return made, nil
}

func sign() ([]signed, error) {
	var notes []signed
	for _, text := range []string{"one line\n", "pgwitness/0011223344556677\n12\nAAAA\n", "an empty line\n\nin the middle\n"} {
		seed := sha256.Sum256([]byte(text))
		private, public, err := note.GenerateKey(bytes.NewReader(seed[:]), "pgwitness/0011223344556677")
		if err != nil {
			return nil, err
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			return nil, err
		}
		data, err := note.Sign(&note.Note{Text: text}, signer)
		if err != nil {
			return nil, err
		}
		notes = append(notes, signed{hex.EncodeToString(seed[:]), public, text, string(data)})
	}
	return notes, nil
}

type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var found []tlog.Hash
	for _, index := range indexes {
		found = append(found, h[index])
	}
	return found, nil
}

func texts[T ~[]tlog.Hash](proof T) []string {
	made := []string{}
	for _, hash := range proof {
		made = append(made, hex.EncodeToString(hash[:]))
	}
	return made
}
