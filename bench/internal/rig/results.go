//go:build linux

package rig

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// resultsDir is where figures are kept, under the module root.
const resultsDir = "bench/results"

// WriteJSON keeps a result as bench/results/NAME.json.
func WriteJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("result %s: %w", name, err)
	}
	return write(name+".json", append(b, '\n'))
}

// WriteTable keeps a table as bench/results/NAME.md.
func WriteTable(name, table string) error { return write(name+".md", []byte(table)) }

func write(name string, b []byte) error {
	root, err := Root()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, resultsDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("result %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
		return fmt.Errorf("result %s: %w", name, err)
	}
	return nil
}

// ReadAll reads every bench/results/PREFIX*.json in the order of their names.
func ReadAll[T any](prefix string) ([]T, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob(filepath.Join(root, resultsDir, prefix+"*.json"))
	if err != nil {
		return nil, fmt.Errorf("results %s: %w", prefix, err)
	}
	slices.Sort(names)
	var all []T
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("results %s: %w", prefix, err)
		}
		var v T
		if err := json.Unmarshal(b, &v); err != nil {
			return nil, fmt.Errorf("results %s: %s: %w", prefix, filepath.Base(name), err)
		}
		all = append(all, v)
	}
	return all, nil
}

// List is a Markdown list of lines, each once.
func List(lines []string) string {
	slices.Sort(lines)
	var b strings.Builder
	for _, line := range slices.Compact(lines) {
		b.WriteString("- " + line + "\n")
	}
	return b.String()
}

// Median is the middle of values, 0 for none.
func Median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}

// Quantile interpolates between the values next to it; q is 0..1. Of nothing it
// is 0.
func Quantile(values []float64, q float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	x := q * float64(len(v)-1)
	i := min(int(x), len(v)-1)
	next := v[min(i+1, len(v)-1)]
	return v[i] + (x-float64(i))*(next-v[i])
}

// MedianOf is the median of one figure of many runs.
func MedianOf[T any](runs []T, figure func(T) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = figure(r)
	}
	return Median(values)
}
