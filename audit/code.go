package audit

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// code is what the type-checked Go code says.
type code struct {
	root   string
	module string
	// planForValues is the type whose statements are planned for their values.
	planForValues string
	functions     map[*types.Func]*function
	// queries are the generated methods, by the name of their query.
	queries    map[*types.Func]string
	parameters map[string][]string
	texts      map[string]string
	operations []*Operation
	// commands say for a query who reaches it other than an operation: programs, and
	// what stands before the operations.
	commands map[string][]string
	// statements are the places that execute SQL outside the generated code.
	statements []Position
	// settings are the environment variables of the commands.
	settings []Setting
}

type function struct {
	decl *ast.FuncDecl
	pkg  *packages.Package
}

// executing are the methods that send SQL to the database.
var executing = []string{
	"Exec", "Query", "QueryRow", "SendBatch", "CopyFrom", "Prepare", "ExecContext", "QueryContext", "QueryRowContext", "PrepareContext",
	"ExecParams", "ExecPrepared",
}

func readCode(config Config) (*code, error) {
	root, err := filepath.Abs(config.Root)
	if err != nil {
		return nil, err
	}
	loaded, err := packages.Load(&packages.Config{
		Dir: root,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedCompiledGoFiles | packages.NeedImports |
			packages.NeedTypes | packages.NeedSyntax | packages.NeedTypesInfo | packages.NeedTypesSizes |
			packages.NeedExportFile | packages.NeedModule,
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("load the code: %w", err)
	}
	c := &code{
		root: root, planForValues: config.PlanForValues, functions: map[*types.Func]*function{}, queries: map[*types.Func]string{},
		parameters: map[string][]string{}, texts: map[string]string{}, commands: map[string][]string{},
	}
	for _, pkg := range loaded {
		if pkg.Module != nil {
			c.module = pkg.Module.Path
		}
		for _, problem := range pkg.Errors {
			err = errors.Join(err, problem)
		}
		for _, file := range pkg.Syntax {
			for _, declaration := range file.Decls {
				decl, ok := declaration.(*ast.FuncDecl)
				if !ok || decl.Body == nil {
					continue
				}
				if object, ok := pkg.TypesInfo.Defs[decl.Name].(*types.Func); ok {
					c.functions[object] = &function{decl, pkg}
				}
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("type-check the code: %w", err)
	}
	for object, f := range c.functions {
		c.readQuery(config, object, f)
	}
	for _, pkg := range loaded {
		for _, file := range pkg.Syntax {
			c.readOperations(config, pkg, file)
			c.readStatements(config, pkg, file)
			c.readSettings(config, pkg, file)
		}
	}
	slices.SortFunc(c.settings, func(a, b Setting) int { return strings.Compare(a.Variable+a.At.String(), b.Variable+b.At.String()) })
	slices.SortFunc(c.operations, func(a, b *Operation) int { return strings.Compare(a.ID, b.ID) })
	for _, operation := range c.operations {
		for object, f := range c.functions {
			if c.position(f.pkg, f.decl.Pos()) == operation.At {
				operation.Uses = c.reach(config, object)
			}
		}
	}
	for object, f := range c.functions {
		user := config.Middlewares[object.FullName()]
		if folder := filepath.Dir(c.position(f.pkg, f.decl.Pos()).File); slices.Contains(config.Commands, folder) {
			user = folder
		}
		if user == "" {
			continue
		}
		for _, use := range c.reach(config, object) {
			if !slices.Contains(c.commands[use.Query], user) {
				c.commands[use.Query] = append(c.commands[use.Query], user)
			}
		}
	}
	for _, users := range c.commands {
		slices.Sort(users)
	}
	return c, nil
}

// readSettings notes the fields of structs whose tag names an environment variable.
func (c *code) readSettings(config Config, pkg *packages.Package, file *ast.File) {
	if !slices.Contains(config.Commands, filepath.Dir(c.position(pkg, file.Pos()).File)) {
		return
	}
	ast.Inspect(file, func(node ast.Node) bool {
		field, ok := node.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		text, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			return true
		}
		tag := reflect.StructTag(text)
		if variable := tag.Get("env"); variable != "" {
			help := strings.NewReplacer("${default}", tag.Get("default"), "${enum}", tag.Get("enum")).Replace(tag.Get("help"))
			c.settings = append(c.settings, Setting{variable, tag.Get("default"), help, c.position(pkg, field.Pos())})
		}
		return true
	})
}

func (c *code) position(pkg *packages.Package, at token.Pos) Position {
	position := pkg.Fset.Position(at)
	file, err := filepath.Rel(c.root, position.Filename)
	if err != nil {
		file = position.Filename
	}
	return Position{filepath.ToSlash(file), position.Line}
}

// readQuery notes a generated method, its query, and the parameters in the order
// in which it passes them.
func (c *code) readQuery(config Config, object *types.Func, f *function) {
	if filepath.Dir(c.position(f.pkg, f.decl.Pos()).File) != config.Generated || f.decl.Recv == nil {
		return
	}
	ast.Inspect(f.decl.Body, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || len(call.Args) < 2 {
			return true
		}
		named, ok := f.pkg.TypesInfo.Types[call.Args[1]]
		if !ok || named.Value == nil || named.Value.Kind() != constant.String {
			return true
		}
		text, ok := strings.CutPrefix(constant.StringVal(named.Value), "-- name: ")
		if !ok {
			return true
		}
		name, _, _ := strings.Cut(text, " ")
		c.queries[object], c.texts[name] = name, constant.StringVal(named.Value)
		for _, argument := range call.Args[2:] {
			switch argument := argument.(type) {
			case *ast.SelectorExpr:
				c.parameters[name] = append(c.parameters[name], snake(argument.Sel.Name))
			case *ast.Ident:
				c.parameters[name] = append(c.parameters[name], snake(argument.Name))
			}
		}
		return false
	})
}

// snake turns BeforeStartedAt into before_started_at.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		upper := r >= 'A' && r <= 'Z'
		if upper && i > 0 && (name[i-1] < 'A' || name[i-1] > 'Z') {
			b.WriteByte('_')
		}
		b.WriteString(strings.ToLower(string(r)))
	}
	return b.String()
}

// callee returns the function that a call calls, nil when that is not known.
func callee(pkg *packages.Package, call *ast.CallExpr) *types.Func {
	expression := ast.Unparen(call.Fun)
	switch indexed := expression.(type) {
	case *ast.IndexExpr:
		expression = indexed.X
	case *ast.IndexListExpr:
		expression = indexed.X
	}
	return named(pkg, expression)
}

// named returns the function that an expression names.
func named(pkg *packages.Package, expression ast.Expr) *types.Func {
	var identifier *ast.Ident
	switch expression := ast.Unparen(expression).(type) {
	case *ast.Ident:
		identifier = expression
	case *ast.SelectorExpr:
		identifier = expression.Sel
	default:
		return nil
	}
	object, ok := pkg.TypesInfo.Uses[identifier].(*types.Func)
	if !ok {
		return nil
	}
	return object.Origin()
}

// readOperations finds the calls that register operations.
func (c *code) readOperations(config Config, pkg *packages.Package, file *ast.File) {
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok || !c.registers(config, pkg, call) {
			return true
		}
		operation := &Operation{Registered: c.position(pkg, call.Pos())}
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
				name, _ := field.Key.(*ast.Ident)
				value := pkg.TypesInfo.Types[field.Value].Value
				if name == nil || value == nil || value.Kind() != constant.String {
					continue
				}
				switch name.Name {
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
			return true // The register function's own call of the library.
		}
		if handler := named(pkg, call.Args[len(call.Args)-1]); handler != nil {
			if f := c.functions[handler]; f != nil {
				operation.Handler, operation.At = handler.Name(), c.position(f.pkg, f.decl.Pos())
			}
		}
		c.operations = append(c.operations, operation)
		return true
	})
}

func (c *code) registers(config Config, pkg *packages.Package, call *ast.CallExpr) bool {
	function := callee(pkg, call)
	return function != nil && slices.Contains(config.Register, function.FullName())
}

// readStatements finds the calls that execute SQL outside the generated code.
func (c *code) readStatements(config Config, pkg *packages.Package, file *ast.File) {
	at := c.position(pkg, file.Pos())
	if filepath.Dir(at.File) == config.Generated && ast.IsGenerated(file) {
		return
	}
	for allowed := range config.SQLAllowed {
		if at.File == allowed || strings.HasPrefix(at.File, allowed+"/") {
			return
		}
	}
	ast.Inspect(file, func(node ast.Node) bool {
		call, ok := node.(*ast.CallExpr)
		if !ok {
			return true
		}
		method := callee(pkg, call)
		if method == nil || method.Pkg() == nil || !slices.Contains(executing, method.Name()) || method.Signature().Recv() == nil {
			return true
		}
		from := method.Pkg().Path()
		generated := filepath.ToSlash(filepath.Join(c.module, config.Generated))
		if strings.HasPrefix(from, "github.com/jackc/pgx/") || from == "database/sql" || from == generated {
			c.statements = append(c.statements, c.position(pkg, call.Pos()))
		}
		return true
	})
}

// reach returns the queries that a function can reach: those whose methods it
// names, and those of every function that it names. A method of an interface
// stands for that of each type here that implements it.
func (c *code) reach(config Config, from *types.Func) []Use {
	w := &walk{code: c, config: config, seen: map[step]bool{}, uses: map[Use]bool{}}
	w.visit(step{function: from})
	var sorted []Use
	for use := range w.uses {
		sorted = append(sorted, use)
	}
	slices.SortFunc(sorted, func(a, b Use) int {
		return strings.Compare(fmt.Sprint(a.Query, a.Transaction, a.Repeated), fmt.Sprint(b.Query, b.Transaction, b.Repeated))
	})
	return sorted
}

// step is a function on the way, in the transaction and the loop of its caller.
type step struct {
	function    *types.Func
	transaction string
	repeated    bool
}

type walk struct {
	*code
	config Config
	seen   map[step]bool
	uses   map[Use]bool
}

func (w *walk) visit(s step) {
	if w.seen[s] {
		return
	}
	w.seen[s] = true
	if query, ok := w.queries[s.function]; ok {
		w.uses[Use{Query: query, Transaction: s.transaction, Repeated: s.repeated}] = true
		return
	}
	for _, implementation := range w.implementations(s.function) {
		w.visit(step{implementation, s.transaction, s.repeated})
	}
	if f := w.functions[s.function]; f != nil {
		w.inspect(f, f.decl.Body, s, f.decl)
	}
}

// inspect follows what a part of a function names. scope is what the values of the
// transaction are declared in.
func (w *walk) inspect(f *function, root ast.Node, s step, scope ast.Node) {
	ast.Inspect(root, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ForStmt:
			if !s.repeated {
				w.inspect(f, node, step{s.function, s.transaction, true}, scope)
				return false
			}
		case *ast.RangeStmt:
			if !s.repeated {
				w.inspect(f, node.X, s, scope)
				w.inspect(f, node.Body, step{s.function, s.transaction, true}, scope)
				return false
			}
		case *ast.CallExpr:
			called := callee(f.pkg, node)
			switch {
			case w.registers(w.config, f.pkg, node):
				return false // Handlers belong to their operations.
			case called != nil && slices.Contains(w.config.Transactions, called.FullName()) && s.transaction == "":
				at := w.position(f.pkg, node.Pos()).String()
				for _, argument := range node.Args {
					// A loop around a transaction repeats the whole of it.
					w.inspect(f, argument, step{s.function, at, false}, argument)
				}
				w.visit(step{called, s.transaction, s.repeated})
				return false
			}
		case *ast.SelectorExpr:
			method, ok := f.pkg.TypesInfo.Uses[node.Sel].(*types.Func)
			if !ok {
				return true
			}
			query, ok := w.queries[method.Origin()]
			if !ok {
				return true
			}
			use := Use{Query: query, Transaction: s.transaction, Repeated: s.repeated, ForValues: w.forValues(f.pkg, node.X)}
			if !declaredIn(f.pkg, node.X, scope) {
				use.Transaction, use.Around = "", s.transaction
			}
			w.uses[use] = true
			w.inspect(f, node.X, s, scope)
			return false
		case *ast.Ident:
			if used, ok := f.pkg.TypesInfo.Uses[node].(*types.Func); ok {
				w.visit(step{used.Origin(), s.transaction, s.repeated})
			}
		}
		return true
	})
}

// declaredIn says whether a value comes from within a scope: a variable declared
// there, not a field, and not a variable from outside.
func declaredIn(pkg *packages.Package, expression ast.Expr, scope ast.Node) bool {
	inside := true
	ast.Inspect(expression, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.SelectorExpr:
			if selection := pkg.TypesInfo.Selections[node]; selection != nil && selection.Kind() == types.FieldVal {
				inside = false
			}
		case *ast.Ident:
			if variable, ok := pkg.TypesInfo.Uses[node].(*types.Var); ok && !variable.IsField() {
				inside = inside && scope.Pos() <= variable.Pos() && variable.Pos() < scope.End()
			}
		}
		return inside
	})
	return inside
}

// forValues says whether a receiver has its statements planned for their values.
func (c *code) forValues(pkg *packages.Package, receiver ast.Expr) bool {
	found := false
	ast.Inspect(receiver, func(node ast.Node) bool {
		if literal, ok := node.(*ast.CompositeLit); ok {
			found = found || types.TypeString(pkg.TypesInfo.TypeOf(literal), nil) == c.planForValues
		}
		return !found
	})
	return found
}

// implementations are the methods here that a method of an interface may be.
func (c *code) implementations(method *types.Func) []*types.Func {
	receiver := method.Signature().Recv()
	if receiver == nil {
		return nil
	}
	asked, ok := receiver.Type().Underlying().(*types.Interface)
	if !ok {
		return nil
	}
	var found []*types.Func
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
