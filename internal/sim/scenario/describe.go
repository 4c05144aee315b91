package scenario

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Fields are the settings of a scenario that are not nothing, in the order of the
// language, as they would be written.
func (s *Scenario) Fields() [][2]string {
	of := *s
	if s.streams() {
		of.Objects, of.Downloads = Objects{}, Downloads{}
	}
	var list [][2]string
	describe(&list, reflect.ValueOf(&of).Elem(), "")
	return list
}

func describe(list *[][2]string, v reflect.Value, path string) {
	if v.IsZero() {
		return
	}
	switch x := v.Addr().Interface().(type) {
	case drawn:
		*list = append(*list, [2]string{path, drawnText(x)})
		return
	case encoding.TextUnmarshaler:
		*list = append(*list, [2]string{path, fmt.Sprint(v.Interface())})
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for f := range v.Type().Fields() {
			switch y := f.Tag.Get("yaml"); y {
			case "", "title", "about", "facts", "runs", "sweep", "expect":
			default:
				describe(list, v.FieldByIndex(f.Index), join(path, y))
			}
		}
	case reflect.Slice:
		if v.Len() > 0 && v.Index(0).Kind() == reflect.String {
			*list = append(*list, [2]string{path, strings.Join(v.Interface().([]string), ", ")})
			return
		}
		for i := range v.Len() {
			describe(list, v.Index(i), join(path, strconv.Itoa(i)))
		}
	default:
		*list = append(*list, [2]string{path, fmt.Sprint(v.Interface())})
	}
}

func drawnText(d drawn) string {
	draw, _ := d.draw()
	unit := func(x float64) string { return Duration(x).String() }
	if _, ok := d.(*Amount); ok {
		unit = func(x float64) string { return Bytes(x).String() }
	}
	switch {
	case draw.Kind == "" && unit(draw.Mid) == Duration(1000*day).String():
		return "forever"
	case draw.Kind == "":
		return unit(draw.Mid)
	}
	text := draw.Kind + " " + unit(draw.Mid)
	if draw.Shape > 0 {
		text += " (" + strconv.FormatFloat(draw.Shape, 'g', 3, 64) + ")"
	}
	if draw.Min > 0 {
		text += ", at least " + unit(draw.Min)
	}
	if draw.Max > 0 {
		text += ", at most " + unit(draw.Max)
	}
	return text
}
