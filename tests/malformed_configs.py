"""Malformed configs in each format, and what the reader has to say about each."""

# One text and, for each problem in it, its line and the words that its message has.
TOML = {
    # --- syntax and encoding ---
    "a key without a value": (
        "initspec = 1\nseed 12\n",
        [(2, "column 6: got 'seed 12'; expected valid TOML (Expected '=' after a key")],
    ),
    "a key that comes twice": (
        "initspec = 1\nseed = 1\nseed = 2\n",
        [(3, "got 'seed = 2'; expected valid TOML (Cannot overwrite a value)")],
    ),
    "an end too early": (
        "initspec = 1\nextends = [\n",
        [(2, "expected valid TOML (Invalid value)")],
    ),
    "too deep": (f"initspec = 1\nvars = {'[' * 9999}", [(1, "less deeply nested")]),
    "a number of too many digits": (
        f"initspec = 1\nseed = {'9' * 5000}",
        [(1, "Exceeds the limit")],
    ),
    "a capture that is called as a size": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = "h/{fan_in}/{L}/w" }\ninit = "zeros"',
        [
            (4, "rule[0].match.path: got '{fan_in}'; expected a capture whose name formulas have"),
            (4, "rule[0].match.path: got '{L}'"),
        ],
    ),
    "a capture that is called as a variable": (
        'initspec = 1\n[vars]\nx = 1\n[[rule]]\nname = "a"\nmatch = { path = "h/{x}/w" }\n'
        'init = "zeros"',
        [(6, "rule[0].match.path: got '{x}'")],
    ),
    # --- the top ---
    "no version": ("seed = 1\n", [(1, "initspec: got nothing; expected 1")]),
    "a newer version": ("\n\ninitspec = 2\n", [(3, "initspec: got 2; expected 1")]),
    "a version as text": ("initspec = '1'\n", [(1, "initspec: got '1'; expected 1")]),
    "an unknown key": (
        "initspec = 1\nsede = 4\n",
        [
            (
                2,
                "sede: got 'sede'; expected one of the keys initspec, stream, seed, extends, "
                "unmatched, vars, rule, tie, names, layers, knobs. Did you mean 'seed'?",
            )
        ],
    ),
    "an unknown stream": (
        'initspec = 1\nstream = "v11"\n',
        [(2, "stream: got 'v11'; expected v1. Did you mean 'v1'?")],
    ),
    "a negative seed": (
        "initspec = 1\nseed = -1\n",
        [(2, "seed: got -1; expected a whole number from 0 to 2**64 - 1")],
    ),
    "a seed too large": (
        f"initspec = 1\nseed = {2**64}\n",
        [(2, f"seed: got {2**64}; expected a whole number from 0 to 2**64 - 1")],
    ),
    "a boolean seed": ("initspec = 1\nseed = true\n", [(2, "seed: got True; expected a whole")]),
    "a fractional seed": ("initspec = 1\nseed = 1.0\n", [(2, "seed: got 1.0; expected a whole")]),
    "unmatched": (
        'initspec = 1\nunmatched = "eror"\n',
        [(2, "unmatched: got 'eror'; expected one of error, keep, warn. Did you mean 'error'?")],
    ),
    "unmatched as a flag": (
        "initspec = 1\nunmatched = true\n",
        [(2, "unmatched: got True; expected one of error, keep, warn")],
    ),
    # --- vars and knobs ---
    "vars with text": (
        'initspec = 1\n[vars]\nd = 4\ne = "four"\n',
        [(4, "vars.e: got 'four'; expected a finite number")],
    ),
    "vars without end": (
        "initspec = 1\n[vars]\nd = inf\ne = nan\n",
        [(3, "vars.d: got inf; expected a finite"), (4, "vars.e: got nan; expected a finite")],
    ),
    "vars with names that are none": (
        "initspec = 1\n[vars]\n'd model' = 4\nfan_in = 3\nsqrt = 2\n",
        [
            (3, "vars.\"d model\": got 'd model'; expected a name of letters, digits and under"),
            (4, "vars.fan_in: got 'fan_in'; expected a name that formulas have no other use"),
            (5, "vars.sqrt: got 'sqrt'; expected a name that formulas have no other use for"),
        ],
    ),
    "vars that are no table": ("initspec = 1\nvars = 3\n", [(2, "vars: got 3; expected a table")]),
    "an unknown knob": (
        "initspec = 1\n[knobs]\nnorm_epsilom = 1e-5\n",
        [
            (
                3,
                "knobs.norm_epsilom: got 'norm_epsilom'; expected one of norm_epsilon, "
                "batch_norm_momentum. Did you mean 'norm_epsilon'?",
            )
        ],
    ),
    # --- rules ---
    "a rule without anything": (
        "initspec = 1\n\n[[rule]]\n",
        [
            (3, "rule[0].name: got nothing; expected text"),
            (3, "rule[0].init: got nothing; expected an initializer: 'he_normal', or {"),
        ],
    ),
    "rules that are no list": (
        "initspec = 1\n[rule]\nname = 'a'\n",
        [(2, "rule: got {'name': 'a'}; expected a list, each item a table of name, match")],
    ),
    "a key of a match in its rule": (
        'initspec = 1\n[[rule]]\nname = "a"\nrole = "kernel"\ninit = "zeros"\n',
        [(4, "rule[0].role: got 'role'; expected one of the keys name, match, init, optional")],
    ),
    "an unknown key of a match": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { rolle = "kernel" }\ninit = "zeros"\n',
        [(4, "rule[0].match.rolle: got 'rolle'; expected one of the keys path, role, layer, not.")],
    ),
    "an unknown role": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { role = ["bias", "kernal"] }\ninit="zeros"\n',
        [(4, "rule[0].match.role[1]: got 'kernal'; expected one of kernel, recurrent, bias")],
    ),
    "an unknown kind": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { layer = "conv2d" }\ninit = "zeros"\n',
        [(4, "rule[0].match.layer: got 'conv2d'; expected one of dense, conv")],
    ),
    "an empty list": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = [] }\ninit = "zeros"\n',
        [(4, "rule[0].match.path: got []; expected a glob such as 'blocks/{i}/**/kernel', or a")],
    ),
    "an unclosed capture": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = "blocks/{i/x" }\ninit = "zeros"\n',
        [(4, "rule[0].match.path: got 'blocks/{i/x'; expected captures as in 'blocks/{i}'")],
    ),
    "stars within a component": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = "blocks/x**/y" }\ninit = "zeros"\n',
        [(4, "rule[0].match.path: got 'blocks/x**/y'; expected '**' as a whole component")],
    ),
    "a bad regular expression": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = "re:(a" }\ninit = "zeros"\n',
        [(4, "rule[0].match.path: got 're:(a'; expected a regular expression (missing )")],
    ),
    "what is left out": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = "zeros"\n[rule.match]\nnot = { role = "x" }\n',
        [(6, "rule[0].match.not.role: got 'x'; expected one of kernel")],
    ),
    "a name twice": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { role = "bias" }\ninit = "zeros"\n'
        '[[rule]]\nname = "a"\ninit = "zeros"\n',
        [(7, "rule[1].name: got 'a'; expected a name of its own: rule[0] has it")],
    ),
    "a name that cannot be printed": (
        'initspec = 1\n[[rule]]\nname = "a\\nb"\ninit = "zeros"\n',
        [(3, "rule[0].name: got 'a\\nb'; expected text, of printable characters")],
    ),
    "a rule for everything before others": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = "zeros"\n[[rule]]\nname = "b"\ninit = "ones"\n',
        [(2, "rule[0].match: got nothing; expected a path, role or layer: no rule behind one")],
    ),
    "optional as text": (
        'initspec = 1\n[[rule]]\nname = "a"\noptional = "yes"\ninit = "zeros"\n',
        [(4, "rule[0].optional: got 'yes'; expected true or false")],
    ),
    # --- init ---
    "an unknown type": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = "he_norml"\n',
        [(4, "rule[0].init: got 'he_norml'; expected an initializer. Did you mean 'he_normal'?")],
    ),
    "an unknown type in a table": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "orthogonl", gain = 2 }\n',
        [(4, "rule[0].init.type: got 'orthogonl'; expected an initializer. Did you mean 'orth")],
    ),
    "no type": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { std = 0.02 }\n',
        [(4, "rule[0].init.type: got nothing; expected the name of an initializer")],
    ),
    "an init that is a number": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = 0\n',
        [(4, "rule[0].init: got 0; expected an initializer: 'he_normal', or {")],
    ),
    "unknown fields": (
        'initspec = 1\n[[rule]]\nname = "a"\n[rule.init]\ntype = "normal"\nsdt = 0.02\nstd = 1\n'
        'men = "x"\n',
        [(6, "rule[0].init.sdt: got 0.02; expected"), (8, "rule[0].init.men: got 'x'; expected")],
    ),
    "a field that the type has not": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "constant", std = 0.02 }\n',
        [(4, "rule[0].init.std: got 0.02; expected no such field for 'constant'")],
    ),
    "a field with keep": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "keep", std = 0.02 }\n',
        [(4, "rule[0].init.std: got 0.02; expected no fields")],
    ),
    "a field that is missing": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = "normal"\n',
        [(4, "rule[0].init.std: got nothing; expected a number for 'normal'")],
    ),
    "bounds that cross": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "uniform", low = 2, high = 1 }\n',
        [(4, "rule[0].init.low: got (2.0, 1.0); expected low below high. Swap them.")],
    ),
    "a negative std": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "normal", std = -0.02 }\n',
        [(4, "rule[0].init.std: got -0.02; expected a number that is not negative")],
    ),
    "an unknown nonlinearity": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "he_normal", nonlinearity = "rlu" }\n',
        [(4, "rule[0].init.nonlinearity: got 'rlu'; expected")],
    ),
    # --- formulas ---
    "no formula": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "normal", std = "0.02 / (2" }\n',
        [(4, "rule[0].init.std: got '0.02 / (2'; expected a formula of numbers, names")],
    ),
    "a call that is no arithmetic": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "normal", std = "open(1)" }\n',
        [(4, "rule[0].init.std: got 'open'; expected one of the functions sqrt, log")],
    ),
    "an attribute": (
        'initspec = 1\n[[rule]]\nname = "a"\ninit = { type = "normal", std = "L.real" }\n',
        [(4, "rule[0].init.std: got 'L.real'; expected a formula of")],
    ),
    "L without a capture": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = "blocks/*/w" }\n'
        'init = { type = "normal", std = "1 / L" }\n',
        [(5, "rule[0].init.std: got 'L'; expected one of the names fan_in, fan_out")],
    ),
    "a capture that not every path has": (
        'initspec = 1\n[[rule]]\nname = "a"\nmatch = { path = ["b/{i}/w", "c/{j}/w"] }\n'
        'init = { type = "normal", std = "1 / i" }\n',
        [(5, "rule[0].init.std: got 'i'; expected one of the names fan_in")],
    ),
    "a variable that is not there": (
        'initspec = 1\nvars = { depth = 12 }\n[[rule]]\nname = "a"\nmatch = { path = "b/{k}/w" }\n'
        'init = { type = "normal", std = "depht + L_k + k", mean = "L" }\n',
        [
            (6, "rule[0].init.std: got 'depht'; expected one of the names k, L_k, fan_in"),
            (6, "rule[0].init.mean: got 'L'; expected one of the names k, L_k, fan_in"),
        ],
    ),
    # --- ties ---
    "a tie to itself": (
        'initspec = 1\n[tie]\n"a/kernel" = "a/kernel"\n',
        [(3, "tie.\"a/kernel\": got 'a/kernel'; expected another path: it is tied to itself")],
    ),
    "a circle of ties": (
        'initspec = 1\n[tie]\n"a" = "b"\n"b" = "c"\n"c" = "a"\n',
        [
            (3, "tie.a: got 'b'; expected no circle of ties: a -> b -> c -> a"),
            (4, "tie.b: got 'c'; expected no circle of ties: b -> c -> a -> b"),
            (5, "tie.c: got 'a'; expected no circle of ties: c -> a -> b -> c"),
        ],
    ),
    "a chain of ties": (
        'initspec = 1\n[tie]\n"a" = "b"\n"b" = "c"\n',
        [(3, "tie.a: got 'b'; expected a path that is not tied itself; it is tied to 'c'")],
    ),
    "a capture that the source of a tie has not": (
        'initspec = 1\n[tie]\n"dec/{i}/w" = "enc/{j}/w"\n',
        [(3, "tie.\"dec/{i}/w\": got '{j}'; expected captures of the name: {i}")],
    ),
    "a tie to a glob": (
        'initspec = 1\n[tie]\n"dec/w" = "enc/*/w"\n',
        [(3, "tie.\"dec/w\": got 'enc/*/w'; expected a path such as")],
    ),
    # --- names ---
    "an unknown framework": (
        'initspec = 1\n[names.troch]\n"a.weight" = "a/kernel"\n',
        [(2, "names.troch: got 'troch'; expected one of the frameworks torch, ")],
    ),
    "a target with captures that the name has not": (
        'initspec = 1\n[names.torch]\n"h.{i}.weight" = "h/{j}/kernel"\n',
        [(3, "names.torch.\"h.{i}.weight\".path: got '{j}'; expected captures of the name: {i}")],
    ),
    "a name with an empty component": (
        'initspec = 1\n[names.torch]\n"h..weight" = "h/kernel"\n',
        [(3, "names.torch.\"h..weight\": got 'h..weight'; expected no empty component")],
    ),
    "an entry that says nothing": (
        'initspec = 1\n[names.torch]\n"h.weight" = {}\n',
        [(3, 'names.torch."h.weight": got {}; expected a path, a role, a layer or a layout')],
    ),
    "what needs a layout": (
        'initspec = 1\n[names.torch]\nw = { path = "h/kernel", groups = 2, flip = true }\n',
        [
            (3, "names.torch.w.groups: got 2; expected a layout beside it. As in layout = 'OI'."),
            (3, "names.torch.w.flip: got True; expected a layout beside it"),
        ],
    ),
    "a layout that cannot be read": (
        'initspec = 1\n[names.torch]\nw = { path = "h/kernel", layout = "OQ" }\n',
        [(3, "names.torch.w.layout: got 'OQ'; expected letters I (in)")],
    ),
    "groups that are none": (
        'initspec = 1\n[names.torch]\nw = { path = "h/kernel", layout = "OI", groups = 0 }\n',
        [(3, "names.torch.w.groups: got 0; expected a whole number of at least 1")],
    ),
    "a layout without a path": (
        'initspec = 1\n[names.torch]\nw = { layout = "OI", role = "kernel" }\n',
        [(3, "names.torch.w.path: got nothing; expected a canonical path")],
    ),
    "a role that the path does not tell": (
        'initspec = 1\n[names.torch]\nw = { path = "h/proj", layout = "OI" }\n',
        [(3, "names.torch.w.role: got nothing; expected one of the roles kernel")],
    ),
    "a split whose path has no part": (
        'initspec = 1\n[names.torch]\n[names.torch.w]\npath = "h/kernel"\nlayout = "OI"\n'
        'split = { axis = "out", parts = ["q", "k"] }\n',
        [(4, "names.torch.w.path: got 'h/kernel'; expected {part} in it")],
    ),
    "a split of a wrong axis": (
        'initspec = 1\n[names.torch]\n[names.torch.w]\npath = "{part}/kernel"\nlayout = "OI"\n'
        'split = { axis = "output", parts = ["q", "q", "k/v"], sizes = [1, 0] }\n',
        [
            (6, "names.torch.w.split.axis: got 'output'; expected 'out', 'in' or the number"),
            (6, "names.torch.w.split.sizes[1]: got 0; expected a whole number of at least 1"),
            (6, "names.torch.w.split.parts[1]: got 'q'; expected every part once"),
            (6, "names.torch.w.split.parts[2]: got 'k/v'; expected one component of a path"),
        ],
    ),
    "sizes that are too few": (
        'initspec = 1\n[names.torch]\n[names.torch.w]\npath = "{part}/kernel"\nlayout = "OI"\n'
        'split = { axis = 0, parts = ["q", "k"], sizes = [1] }\n',
        [(6, "names.torch.w.split.sizes: got [1]; expected 2 sizes, one for each part")],
    ),
    "a stack without its capture": (
        'initspec = 1\n[names.flax]\n"a/kernel" = { path = "a/{i}/w", stack = { axis = 0 } }\n',
        [(3, 'names.flax."a/kernel".stack.capture: got nothing; expected a name')],
    ),
    "a stack whose capture the name has": (
        "initspec = 1\n[names.flax]\n"
        '"a/{i}/w" = { path = "a/{i}/w", stack = { axis = 0, capture = "i" } }\n',
        [(3, "names.flax.\"a/{i}/w\".stack: got '{i}'; expected a capture that nothing else has")],
    ),
    # --- layers ---
    "a class without a module": (
        'initspec = 1\n[layers.Dense]\nw = { path = "kernel", layout = "IO" }\n',
        [(2, "layers.Dense: got 'Dense'; expected a class as 'package.module.Class'")],
    ),
    "an attribute without a layout": (
        'initspec = 1\n[layers."a.Dense"]\nw = "kernel"\n',
        [(3, 'layers."a.Dense".w.layout: got nothing; expected one letter per axis')],
    ),
    "one of several slots": (
        'initspec = 1\n[layers."a.Dense"]\nw = [{ path = "kernel", layout = "IO" }, '
        '{ path = "k/{part}/kernel", layout = "IO" }]\n',
        [(3, "layers.\"a.Dense\".w[1].path: got '{part}'; expected captures of the name: it has")],
    ),
    # --- extends ---
    "a preset that is not there": (
        'initspec = 1\nextends = "initspec:bse"\n',
        [(2, "extends: got 'initspec:bse'; expected one of the presets")],
    ),
    "a file that is not there": (
        'initspec = 1\nextends = ["initspec:base", "no/such.toml"]\n',
        [(2, "extends[1]: got 'no/such.toml'; expected a file that can be read. No such file")],
    ),
    "a file of another kind": (
        'initspec = 1\nextends = ["base.ini"]\n',
        [(2, "extends[0]: got 'base.ini'; expected a file that ends in one of .toml, .json")],
    ),
    # --- many at once ---
    "one of everything": (
        'initspec = 1\nseed = -3\nsteam = "v1"\n\n[[rule]]\nname = "a"\n'
        'match = { role = "kernal", path = "x/{i}/w" }\n'
        'init = { type = "normal", std = "1 / J" }\n\n# a remark\n[[rule]]\nname = "a"\n'
        'init = "zero"\n[tie]\nx = "x"\n[names.torch]\nw = { path = "h/{i}" }\n',
        [
            (2, "seed: got -3"),
            (3, "steam: got 'steam'; expected one of the keys"),
            (7, "rule[0].match.role: got 'kernal'; expected one of"),
            (8, "rule[0].init.std: got 'J'; expected one of the names i, L_i, L, fan_in"),
            (12, "rule[1].name: got 'a'; expected a name of its own"),
            (13, "rule[1].init: got 'zero'; expected an initializer. Did you mean 'zeros'?"),
            (15, "tie.x: got 'x'; expected another path"),
            (17, "names.torch.w.path: got '{i}'; expected captures of the name: it has none"),
        ],
    ),
}

JSON = {
    "a comma too many": ('{\n"initspec": 1,\n}', [(3, "column 1: got '}'; expected valid JSON")]),
    "a key twice": (
        '{"initspec": 1,\n "seed": 1,\n "vars": {"a": 1,\n"a": 2}}',
        [(4, "vars.a: got 'a'; expected every key once; line 3 has it. Remove one of them.")],
    ),
    "no number": (
        '{"initspec": 1,\n"vars": {\n"a": NaN, "b": 1e999,\n"c": 1}}',
        [(3, "vars.a: got nan; expected a finite"), (3, "vars.b: got inf; expected a finite")],
    ),
    "nothing": ("null", [(1, "config: got None; expected a table of initspec, stream")]),
    "rules": (
        '{"initspec": 1, "rule": [\n  {"name": "a", "init": "ones",\n'
        '   "match": {"role": ["bias",\n    "scael"]}},\n  7]}',
        [(4, "rule[0].match.role[1]: got 'scael'"), (5, "rule[1]: got 7; expected a table of")],
    ),
    "too deep": ("[" * 100_000, [(1, "less deeply nested")]),
}

YAML = {
    "an indent": ("initspec: 1\nvars:\n  a: 1\n b: 2\n", [(4, "expected valid YAML (")]),
    "a key twice": (
        "initspec: 1\nseed: 1\nseed: 2\n",
        [(3, "seed: got 'seed'; expected every key once; line 2 has it")],
    ),
    "an anchor": (
        "initspec: 1\nvars: &a {b: 1}\nknobs: *a\n",
        [(3, "column 8: got 'knobs: *a'; expected valid YAML (no anchors: write it out)")],
    ),
    "a tag": ("initspec: 1\nseed: !!python/int 3\n", [(2, "no tags such as tag:yaml.org")]),
    "a key that is a list": ("initspec: 1\n[1, 2]: 3\n", [(2, "(keys are text)")]),
    "two documents": ("initspec: 1\n---\nseed: 1\n", [(2, "expected valid YAML (")]),
    "nothing": ("# nothing\n", [(1, "config: got None; expected a table of")]),
    "a version 1.1 word": (
        "initspec: 1\nrule:\n- name: no\n  init: zeros\n  optional: yes\n",
        [(5, "rule[0].optional: got 'yes'; expected true or false")],
    ),
    "no number": (
        "initspec: 1\nvars:\n  a: .nan\n  b: -.inf\n  c: 1e-5\n",
        [(3, "vars.a: got nan; expected a finite"), (4, "vars.b: got -inf; expected a finite")],
    ),
    "a control character": ("initspec: 1\nseed: \x07\n", [(1, "expected valid YAML (")]),
}
