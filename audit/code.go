package audit

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/types"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// code is what the type-checked Go code says.
type code struct {
	config    Config
	functions map[*types.Func]*function
	// queries are the generated methods.
	queries    map[*types.Func]*Query
	operations []*Operation
	// commands are the programs that reach a query, by its name.
	commands map[string][]string
	// before are the queries that the middlewares reach.
	before []string
	// called are the middlewares that were found.
	called map[string]bool
}

type function struct {
	decl *ast.FuncDecl
	pkg  *packages.Package
	file string // in the project
}

// readCode type-checks a project, once, and follows its calls.
func readCode(config Config) (*code, error) {
	root, err := filepath.Abs(config.root)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Dir: root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports | packages.NeedTypes |
			packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedTypesSizes | packages.NeedExportFile,
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("load the code: %w", err)
	}
	c := &code{config: config, functions: map[*types.Func]*function{}, queries: map[*types.Func]*Query{}, commands: map[string][]string{}, called: map[string]bool{}}
	for _, pkg := range loaded {
		for _, problem := range pkg.Errors {
			err = errors.Join(err, problem)
		}
		for _, file := range pkg.Syntax {
			path, pathErr := filepath.Rel(root, pkg.Fset.Position(file.Pos()).Filename)
			err = errors.Join(err, pathErr)
			for _, declaration := range file.Decls {
				if decl, ok := declaration.(*ast.FuncDecl); ok && decl.Body != nil {
					if object, ok := pkg.TypesInfo.Defs[decl.Name].(*types.Func); ok {
						c.functions[object] = &function{decl, pkg, filepath.ToSlash(path)}
					}
				}
			}
		}
	}
	for object, f := range c.functions {
		err = errors.Join(err, c.readQuery(object, f))
	}
	if err != nil {
		return nil, fmt.Errorf("type-check the code: %w", err)
	}
	for _, f := range c.functions {
		c.readOperations(f)
	}
	slices.SortFunc(c.operations, func(a, b *Operation) int { return cmp.Compare(a.ID, b.ID) })
	for object, f := range c.functions {
		name, folder := object.FullName(), filepath.Dir(f.file)
		if slices.Contains(config.Middlewares, name) {
			c.called[name] = true
			for _, query := range c.reach(f, f.decl) {
				c.before = insert(c.before, query)
			}
		}
		if slices.Contains(config.Commands, name) || slices.Contains(config.Commands, folder) && isRoot(object) {
			for _, query := range c.reach(f, f.decl) {
				c.commands[query] = insert(c.commands[query], folder)
			}
		}
	}
	return c, nil
}

// isRoot says whether a program begins with a function: main, init, or a method Run,
// which libraries for command lines call.
func isRoot(f *types.Func) bool {
	if f.Signature().Recv() != nil {
		return f.Name() == "Run"
	}
	return f.Name() == "main" || f.Name() == "init"
}

// readQuery records the query of a generated method, with its comment and its parameters.
func (c *code) readQuery(object *types.Func, f *function) error {
	if filepath.Dir(f.file) != c.config.Generated || !strings.HasSuffix(f.file, ".sql.go") {
		return nil
	}
	query := &Query{Name: object.Name(), File: c.config.Queries + "/" + strings.TrimSuffix(filepath.Base(f.file), ".go")}
	for line := range strings.Lines(f.decl.Doc.Text()) {
		if reason, ok := strings.CutPrefix(strings.TrimSpace(line), "audit: "); ok {
			query.Reason = reason
		} else {
			query.Comment += line
		}
	}
	ast.Inspect(f.decl.Body, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 || query.text != "" {
			return true
		}
		value := f.pkg.TypesInfo.Types[call.Args[1]].Value
		if value == nil || value.Kind() != constant.String {
			return true
		}
		query.text = constant.StringVal(value)
		for _, argument := range call.Args[2:] {
			parameter := types.ExprString(argument) // arg.RowLimit, or the name alone
			query.parameters = append(query.parameters, parameter[strings.LastIndex(parameter, ".")+1:])
		}
		return false
	})
	if !strings.HasPrefix(query.text, "-- name: "+query.Name+" ") {
		return fmt.Errorf("%s is of a kind that the audit cannot follow (:copyfrom, :batch…)", query.at())
	}
	c.queries[object] = query
	return nil
}

// readOperations finds the operations that a function registers.
func (c *code) readOperations(f *function) {
	ast.Inspect(f.decl.Body, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || !c.registers(f, call) {
			return true
		}
		operation := &Operation{}
		for _, argument := range call.Args {
			literal, ok := argument.(*ast.CompositeLit)
			if !ok {
				continue
			}
			for _, element := range literal.Elts {
				field, ok := element.(*ast.KeyValueExpr)
				if !ok {
					continue
				}
				value := f.pkg.TypesInfo.Types[field.Value].Value
				if value == nil || value.Kind() != constant.String {
					continue
				}
				switch types.ExprString(field.Key) {
				case "OperationID":
					operation.ID = constant.StringVal(value)
				case "Method":
					operation.Method = constant.StringVal(value)
				case "Path":
					operation.Path = constant.StringVal(value)
				}
			}
		}
		if operation.ID == "" {
			return true // The function's own call of the library's.
		}
		handler := call.Args[len(call.Args)-1]
		operation.Handler, operation.File = "a function literal", f.file
		if named := f.named(handler); named != nil {
			operation.Handler = named.Name()
			if declared := c.functions[named]; declared != nil {
				operation.File = declared.file
			}
		}
		operation.Queries = c.reach(f, handler)
		c.operations = append(c.operations, operation)
		return true
	})
}

// named returns the function that an expression names, or nil.
func (f *function) named(expression ast.Expr) *types.Func {
	switch e := ast.Unparen(expression).(type) {
	case *ast.IndexExpr:
		return f.named(e.X)
	case *ast.IndexListExpr:
		return f.named(e.X)
	case *ast.SelectorExpr:
		return f.named(e.Sel)
	case *ast.Ident:
		if object, ok := f.pkg.TypesInfo.Uses[e].(*types.Func); ok {
			return object.Origin()
		}
	}
	return nil
}

// registers reports whether a call registers an operation.
func (c *code) registers(f *function, call *ast.CallExpr) bool {
	called := f.named(call.Fun)
	return called != nil && slices.Contains(c.config.Register, called.FullName())
}

// reach returns the queries that a part of a function can reach: those whose methods
// it names, and those of every function that it names, in whichever package. A method
// of an interface stands for those of all types here that implement it.
func (c *code) reach(f *function, from ast.Node) (queries []string) {
	seen := map[*types.Func]bool{}
	var inspect func(*function, ast.Node)
	visit := func(called *types.Func) {
		if seen[called] {
			return
		}
		seen[called] = true
		if query := c.queries[called]; query != nil {
			queries = insert(queries, query.Name)
			return
		}
		for _, function := range append(c.implementations(called), called) {
			if f := c.functions[function]; f != nil {
				inspect(f, f.decl.Body)
			}
		}
	}
	inspect = func(f *function, root ast.Node) {
		ast.Inspect(root, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.CallExpr:
				return !c.registers(f, node) // Handlers belong to their operations.
			case *ast.Ident:
				if called := f.named(node); called != nil {
					visit(called)
				}
			}
			return true
		})
	}
	inspect(f, from)
	return queries
}

// implementations are the methods here that a method of an interface may be.
func (c *code) implementations(method *types.Func) (found []*types.Func) {
	receiver := method.Signature().Recv()
	if receiver == nil || !types.IsInterface(receiver.Type()) {
		return nil
	}
	asked := receiver.Type().Underlying().(*types.Interface) //nolint:forcetypeassert // IsInterface has said so.
	for candidate := range c.functions {
		if candidate.Name() != method.Name() || candidate.Signature().Recv() == nil {
			continue
		}
		if of := candidate.Signature().Recv().Type(); types.Implements(of, asked) || types.Implements(types.NewPointer(of), asked) {
			found = append(found, candidate)
		}
	}
	return found
}
