package hls

import (
	"errors"
	"fmt"

	"github.com/tandem-cdn/tandem/internal/media"
)

func (p *parser) streamInf(list attrs) error {
	if p.stream != nil {
		return errors.New("the EXT-X-STREAM-INF before has no URI")
	}
	v, err := p.variant(list)
	p.stream = v
	return err
}

func (p *parser) iFrameStreamInf(list attrs) error {
	v, err := p.variant(list)
	if err != nil {
		return err
	}
	v.IFrame = true
	if v.URL, err = p.uri(list, "URI"); err != nil {
		return err
	}
	p.out.Multivariant.Variants = append(p.out.Multivariant.Variants, *v)
	return nil
}

// room says whether one more variant or rendition may come.
func (p *parser) room() error {
	if m := p.out.Multivariant; len(m.Variants)+len(m.Renditions)+len(m.SessionKeys)+len(m.SessionData) >= maxVariants {
		return fmt.Errorf("more than %d variants, renditions and session tags", maxVariants)
	}
	return nil
}

func (p *parser) variant(list attrs) (*Variant, error) {
	if err := p.room(); err != nil {
		return nil, err
	}
	v := &Variant{Pathway: "."}
	var err error
	if !list.has("BANDWIDTH") {
		return nil, errors.New("no BANDWIDTH")
	}
	if v.Bandwidth, err = list.integer("BANDWIDTH"); err != nil {
		return nil, err
	}
	if v.AverageBandwidth, err = list.integer("AVERAGE-BANDWIDTH"); err != nil {
		return nil, err
	}
	if a, ok := list.find("SCORE"); ok {
		if v.Score, err = decimal(a.value); err != nil {
			return nil, fmt.Errorf("SCORE: %w", err)
		}
	}
	err = p.strs(list, map[string]*string{
		"CODECS": &v.Codecs, "RESOLUTION": &v.Resolution, "FRAME-RATE": &v.FrameRate, "VIDEO-RANGE": &v.VideoRange,
		"AUDIO": &v.Audio, "VIDEO": &v.Video, "SUBTITLES": &v.Subtitles, "CLOSED-CAPTIONS": &v.ClosedCaptions,
		"STABLE-VARIANT-ID": &v.StableID, "PATHWAY-ID": &v.Pathway,
	})
	return v, err
}

func (p *parser) rendition(list attrs) error {
	if err := p.room(); err != nil {
		return err
	}
	var r Rendition
	var err error
	if list.has("URI") {
		if r.URL, err = p.uri(list, "URI"); err != nil {
			return err
		}
	}
	if r.Default, err = list.yes("DEFAULT"); err != nil {
		return err
	}
	err = p.strs(list, map[string]*string{
		"TYPE": &r.Type, "GROUP-ID": &r.Group, "NAME": &r.Name, "LANGUAGE": &r.Language, "STABLE-RENDITION-ID": &r.StableID,
	})
	switch {
	case err != nil:
		return err
	case r.Type == "" || r.Group == "":
		return errors.New("no TYPE or no GROUP-ID")
	}
	p.out.Multivariant.Renditions = append(p.out.Multivariant.Renditions, r)
	return nil
}

func (p *parser) sessionData(list attrs) error {
	if err := p.room(); err != nil || !list.has("URI") {
		return err
	}
	u, err := p.uri(list, "URI")
	if errors.Is(err, media.ErrScheme) { // a data URL
		return nil
	}
	if err != nil {
		return err
	}
	p.out.Multivariant.SessionData = append(p.out.Multivariant.SessionData, u)
	return nil
}

func (p *parser) sessionKey(list attrs) error {
	if err := p.room(); err != nil {
		return err
	}
	k, err := p.readKey(list)
	if err != nil {
		return err
	}
	p.out.Multivariant.SessionKeys = append(p.out.Multivariant.SessionKeys, k)
	return nil
}

func (p *parser) steering(list attrs) error {
	u, err := p.uri(list, "SERVER-URI")
	if err != nil {
		return err
	}
	pathway, err := p.str(list, "PATHWAY-ID")
	p.out.Multivariant.Steering = &Steering{URL: u, Pathway: pathway}
	return err
}

// Alternatives groups the variants that are the same content at different
// places: those with one STABLE-VARIANT-ID, else those that are alike in all but
// URL and pathway. Each group is in the order of the playlist, groups are in that
// of their first.
func (m *Multivariant) Alternatives() [][]Variant {
	var groups [][]Variant
	at := map[Variant]int{}
	for _, v := range m.Variants {
		k := v
		if v.StableID != "" {
			k = Variant{StableID: v.StableID, IFrame: v.IFrame, Pathway: "."}
		}
		k.URL = ""
		if k.Pathway != "." { // every pathway has groups of its own, whose names say nothing
			k.Pathway, k.Audio, k.Video, k.Subtitles, k.ClosedCaptions = "", "", "", "", ""
		}
		if i, ok := at[k]; ok {
			groups[i] = append(groups[i], v)
			continue
		}
		at[k] = len(groups)
		groups = append(groups, []Variant{v})
	}
	return groups
}
