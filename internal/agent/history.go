package agent

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// maxHistory is how many finished downloads are remembered.
const maxHistory = 1000

// history remembers where finished downloads were put, so that the next version of
// what a URL names finds the one before. It is a hint: files move and change.
type history struct {
	path string // "" keeps it in memory

	mu   sync.Mutex
	list []past // the last one last
}

// past is an element of downloads.json. The URL has no query and no user: these may
// be secrets, and differ from time to time.
type past struct {
	URL  string `json:"url"`
	File string `json:"file"`
}

func openHistory(path string) *history {
	h := &history{path: path}
	if b, err := os.ReadFile(path); err == nil {
		_ = json.Unmarshal(b, &h.list) // what is damaged is forgotten
	}
	return h
}

func bare(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// files are those that the URL was downloaded to, the last one first.
func (h *history) files(rawURL string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var files []string
	for _, p := range slices.Backward(h.list) {
		if p.URL == bare(rawURL) {
			files = append(files, p.File)
		}
	}
	return files
}

// add remembers a finished download.
func (h *history) add(rawURL, file string) error {
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = slices.DeleteFunc(h.list, func(p past) bool { return p.File == file })
	h.list = append(h.list, past{bare(rawURL), file})
	h.list = h.list[max(0, len(h.list)-maxHistory):]
	if h.path == "" {
		return nil
	}
	b, err := json.Marshal(h.list)
	if err != nil {
		return err
	}
	tmp := h.path + ".new"
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, h.path)
}
