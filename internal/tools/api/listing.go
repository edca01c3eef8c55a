package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// listed is a package with what a program that imports it can use, a line for each.
type listed struct {
	path  string
	lines []string
}

// list lists the packages that other modules can import: neither commands nor below an internal directory, nor
// examples.
func list(dir string) ([]listed, error) {
	cmd := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Name,Export,DepOnly", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.String())
	}
	// The compiler's export data of a package has its whole API; nothing is parsed or checked again.
	export := map[string]string{}
	var public []string
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath, Name, Export string
			DepOnly                  bool
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		export[p.ImportPath] = p.Export
		if !p.DepOnly && p.Name != "main" && !slices.Contains(strings.Split(p.ImportPath, "/"), "internal") {
			public = append(public, p.ImportPath)
		}
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		if export[path] == "" {
			return nil, fmt.Errorf("no export data for %s", path)
		}
		return os.Open(export[path])
	})
	var all []listed
	for _, path := range public {
		pkg, err := imports.Import(path)
		if err != nil {
			return nil, fmt.Errorf("import %s: %w", path, err)
		}
		all = append(all, listed{path, lines(pkg)})
	}
	return all, nil
}

// lines are the exported declarations of a package, sorted. An interface is one line with all its methods, since one
// more is as incompatible as one less; each field and method of another type is a line, since one more of those is
// not.
func lines(pkg *types.Package) []string {
	var all []string
	scope := pkg.Scope()
	for _, name := range scope.Names() {
		obj := scope.Lookup(name)
		if !obj.Exported() {
			continue
		}
		switch obj := obj.(type) {
		case *types.Const:
			all = append(all, fmt.Sprintf("const %s %s = %s", name, typ(pkg, obj.Type()), obj.Val().ExactString()))
		case *types.Var:
			all = append(all, fmt.Sprintf("var %s %s", name, typ(pkg, obj.Type())))
		case *types.Func:
			all = append(all, "func "+name+signature(pkg, obj))
		case *types.TypeName:
			all = append(all, typeLines(pkg, obj)...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func typeLines(pkg *types.Package, obj *types.TypeName) []string {
	name := obj.Name()
	if obj.IsAlias() {
		return []string{fmt.Sprintf("type %s = %s", name, typ(pkg, types.Unalias(obj.Type())))}
	}
	named, ok := obj.Type().(*types.Named)
	if !ok {
		return []string{fmt.Sprintf("type %s %s", name, typ(pkg, obj.Type()))}
	}
	var params []string
	for p := range named.TypeParams().TypeParams() {
		params = append(params, p.Obj().Name()+" "+typ(pkg, p.Constraint()))
	}
	head := "type " + name
	if len(params) > 0 {
		head += "[" + strings.Join(params, ", ") + "]"
	}

	var all []string
	switch under := named.Underlying().(type) {
	case *types.Struct:
		all = append(all, head+" struct")
		for field := range under.Fields() {
			if field.Exported() {
				embedded := ""
				if field.Embedded() {
					embedded = " (embedded)"
				}
				all = append(all, fmt.Sprintf("%s, %s %s%s", head, field.Name(), typ(pkg, field.Type()), embedded))
			}
		}
	case *types.Interface:
		return []string{head + " " + interfaceText(pkg, under)}
	default:
		all = append(all, head+" "+typ(pkg, under))
	}

	// The methods of T, and with them those of *T: which receiver a method has matters to who stores a T in an interface.
	values := types.NewMethodSet(named)
	for m := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		method, ok := m.Obj().(*types.Func)
		if !ok || !method.Exported() {
			continue
		}
		receiver := "*" + name
		if values.Lookup(pkg, method.Name()) != nil {
			receiver = name
		}
		// Through the selection, so that a promoted method of a generic type has its arguments filled in.
		text := strings.TrimPrefix(typ(pkg, m.Type()), "func")
		all = append(all, fmt.Sprintf("method (%s) %s%s", receiver, method.Name(), text))
	}
	return all
}

// interfaceText is an interface with its methods in order of their names.
func interfaceText(pkg *types.Package, t *types.Interface) string {
	if !t.IsMethodSet() {
		return typ(pkg, t) // a constraint
	}
	var methods []string
	for m := range t.Methods() {
		methods = append(methods, m.Name()+strings.TrimPrefix(typ(pkg, m.Type()), "func"))
	}
	slices.Sort(methods)
	return "interface { " + strings.Join(methods, "; ") + " }"
}

func signature(pkg *types.Package, f *types.Func) string {
	sig := f.Signature()
	var params []string
	for p := range sig.TypeParams().TypeParams() {
		params = append(params, p.Obj().Name()+" "+typ(pkg, p.Constraint()))
	}
	plain := types.NewSignatureType(nil, nil, nil, sig.Params(), sig.Results(), sig.Variadic()) // without [A, B any]
	text := strings.TrimPrefix(typ(pkg, plain), "func")
	if len(params) > 0 {
		text = "[" + strings.Join(params, ", ") + "]" + text
	}
	return text
}

// typ is a type as text: names of other packages with their path, inside this module from its root on.
func typ(pkg *types.Package, t types.Type) string {
	module := moduleOf(pkg.Path())
	return types.TypeString(t, func(other *types.Package) string {
		if other == pkg {
			return ""
		}
		return strings.TrimPrefix(other.Path(), module+"/")
	})
}

// moduleOf is the first three elements of a path, as a host of repositories has them, or all of a shorter one.
func moduleOf(path string) string {
	parts := strings.Split(path, "/")
	return strings.Join(parts[:min(3, len(parts))], "/")
}
