"""What a compiled program costs is read off its text; no GPU is needed, and no plugin."""

import pytest

from benchmarks import gpu_programs
from benchmarks.__main__ import main
from benchmarks.gpu_costs import (
    BYTES_PER_SECOND,
    KERNEL_SECONDS,
    WAIT_SECONDS,
    cost_of_program,
    main_loop,
    nested,
)
from benchmarks.hlo import num_bytes, parse
from benchmarks.programs import counts

# A loop of rounds, in it one of iterations, with a `cond` and a loop in it; before them five turns
# of two kernels, and behind them a loop that runs a short text a thousand times.
PROGRAM = """
HloModule jit_solve, is_scheduled=true, entry_computation_layout={(f32[100,2]{1,0})->f32[100,2]}

%fused_slice (p.0: f32[100,2], p.1: s32[]) -> f32[1,2] {
  %p.0 = f32[100,2]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  ROOT %slice.0 = f32[1,2]{1,0} dynamic-slice(%p.0, %p.1), dynamic_slice_sizes={1,2}
}

%fused_update (q.0: f32[100,2], q.1: f32[1,2], q.2: s32[]) -> f32[100,2] {
  %q.0 = f32[100,2]{1,0} parameter(0)
  %q.1 = f32[1,2]{1,0} parameter(1)
  %q.2 = s32[] parameter(2)
  ROOT %update.0 = f32[100,2]{1,0} dynamic-update-slice(%q.0, %q.1, %q.2)
}

%less (a.0: f32[], b.0: f32[]) -> pred[] {
  %a.0 = f32[] parameter(0)
  %b.0 = f32[] parameter(1)
  ROOT %lt.0 = pred[] compare(%a.0, %b.0), direction=LT
}

%fused_sort (s.0: f32[50]) -> f32[50] {
  %s.0 = f32[50]{0} parameter(0)
  ROOT %sort.0 = f32[50]{0} sort(%s.0), dimensions={0}, to_apply=%less
}

%scan_body (c.0: (s32[], f32[100,2])) -> (s32[], f32[100,2]) {
  %c.0 = (s32[], f32[100,2]{1,0}) parameter(0)
  %i.0 = s32[] get-tuple-element(%c.0), index=0
  %x.0 = f32[100,2]{1,0} get-tuple-element(%c.0), index=1
  %row.0 = f32[1,2]{1,0} fusion(%x.0, %i.0), kind=kLoop, calls=%fused_slice
  %y.0 = f32[100,2]{1,0} fusion(%x.0, /*index=1*/%row.0, %i.0), kind=kLoop, calls=%fused_update
  ROOT %t.0 = (s32[], f32[100,2]{1,0}) tuple(%i.0, %y.0)
}

%scan_condition (c.1: (s32[], f32[100,2])) -> pred[] {
  %c.1 = (s32[], f32[100,2]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%c.1), index=0
  ROOT %go.1 = pred[] compare(%i.1, %i.1), direction=LT
}

%frontier_body (c.2: (s32[], f32[100,2])) -> (s32[], f32[100,2]) {
  %c.2 = (s32[], f32[100,2]{1,0}) parameter(0)
  %i.2 = s32[] get-tuple-element(%c.2), index=0
  %x.2 = f32[100,2]{1,0} get-tuple-element(%c.2), index=1
  %y.2 = f32[100,2]{1,0} negate(%x.2)
  ROOT %t.2 = (s32[], f32[100,2]{1,0}) tuple(%i.2, %y.2)
}

%stay (x.3: f32[100,2]) -> f32[100,2] {
  %x.3 = f32[100,2]{1,0} parameter(0)
  ROOT %y.3 = f32[100,2]{1,0} copy(%x.3)
}

%advance (x.4: f32[100,2]) -> f32[100,2] {
  %x.4 = f32[100,2]{1,0} parameter(0)
  %a.4 = f32[100,2]{1,0} negate(%x.4)
  %b.4 = f32[100,2]{1,0} copy-start(%a.4)
  %c.4 = f32[100,2]{1,0} copy-done(%b.4)
  %z.4 = s32[] constant(0)
  %t.4 = (s32[], f32[100,2]{1,0}) tuple(%z.4, %c.4)
  %w.4 = (s32[], f32[100,2]{1,0}) while(%t.4), condition=%scan_condition, body=%frontier_body, metadata={op_name="jit(solve)/while/body/cond/while"}
  ROOT %y.4 = f32[100,2]{1,0} get-tuple-element(%w.4), index=1
}

%iteration (c.5: (s32[], f32[100,2])) -> (s32[], f32[100,2]) {
  %c.5 = (s32[], f32[100,2]{1,0}) parameter(0)
  %i.5 = s32[] get-tuple-element(%c.5), index=0
  %x.5 = f32[100,2]{1,0} get-tuple-element(%c.5), index=1
  %s.5 = f32[50]{0} broadcast(%i.5), dimensions={}
  %r.5 = f32[50]{0} fusion(%s.5), kind=kCustom, calls=%fused_sort
  %g.5 = (f32[100,2]{1,0}, s8[64]{0}) custom-call(%x.5, %x.5), custom_call_target="__cublas$gemm"
  %h.5 = f32[100,2]{1,0} get-tuple-element(%g.5), index=0
  %p.5 = pred[] compare(%i.5, %i.5), direction=EQ
  %d.5 = f32[100,2]{1,0} conditional(%p.5, %h.5, %h.5), true_computation=%stay, false_computation=%advance
  ROOT %t.5 = (s32[], f32[100,2]{1,0}) tuple(%i.5, %d.5)
}

%round (c.10: (s32[], f32[100,2])) -> (s32[], f32[100,2]) {
  %c.10 = (s32[], f32[100,2]{1,0}) parameter(0)
  %w.10 = (s32[], f32[100,2]{1,0}) while(%c.10), condition=%scan_condition, body=%iteration, metadata={op_name="jit(solve)/while/body/while"}
  %i.10 = s32[] get-tuple-element(%w.10), index=0
  %x.10 = f32[100,2]{1,0} get-tuple-element(%w.10), index=1
  %y.10 = f32[100,2]{1,0} negate(%x.10)
  ROOT %t.10 = (s32[], f32[100,2]{1,0}) tuple(%i.10, %y.10)
}

%finish_body (c.6: (s32[], f32[100,2])) -> (s32[], f32[100,2]) {
  %c.6 = (s32[], f32[100,2]{1,0}) parameter(0)
  ROOT %w.6 = (s32[], f32[100,2]{1,0}) while(%c.6), condition=%scan_condition, body=%scan_body, backend_config={"known_trip_count":{"n":"1000"},"known_init_step":{"init":"0","step":"1"}}
}

ENTRY %main (x.7: f32[100,2]) -> f32[100,2] {
  %x.7 = f32[100,2]{1,0} parameter(0)
  %z.7 = s32[] constant(0)
  %t.7 = (s32[], f32[100,2]{1,0}) tuple(%z.7, %x.7)
  %w.7 = (s32[], f32[100,2]{1,0}) while(%t.7), condition=%scan_condition, body=%scan_body, backend_config={"known_trip_count":{"n":"5"}}
  %w.8 = (s32[], f32[100,2]{1,0}) while(%w.7), condition=%scan_condition, body=%round, metadata={op_name="jit(solve)/while"}
  %w.9 = (s32[], f32[100,2]{1,0}) while(%w.8), condition=%scan_condition, body=%finish_body
  ROOT %y.7 = f32[100,2]{1,0} get-tuple-element(%w.9), index=1
}
"""  # noqa: E501

CHAIN, ROW = 800, 8
"""Bytes of an array of the program, and of a row of it."""


def program():
    return cost_of_program(PROGRAM)


def test_a_computation_is_found_with_its_instructions():
    module, entry = parse(PROGRAM)
    assert entry == "main" and len(module) == 13
    update = module["scan_body"][4]
    assert (update.name, update.operation, update.is_root) == ("y.0", "fusion", False)
    assert update.operands == ("x.0", "row.0", "i.0")


@pytest.mark.parametrize(
    "shape, expected",
    [
        ("f32[]", 4),
        ("f64[3,4]{1,0}", 96),
        ("pred[7]{0}", 7),
        ("bf16[5]", 10),
        ("f8e4m3fn[5]", 5),
        ("(f32[100,2]{1,0}, (s32[], u8[3]{0}), token[])", 807),
    ],
)
def test_bytes_of_a_shape(shape, expected):
    assert num_bytes(shape) == expected


def test_the_rounds_are_the_first_loop_of_unknown_length_not_the_costliest():
    loops = program().loops
    costliest = max(loops, key=lambda loop: loop.turn.seconds)
    rounds = main_loop(loops)
    assert costliest.turn.kernels == 2_001 and costliest.turns is None
    assert rounds is not costliest and rounds.name == "jit(solve)/while"


def test_a_turn_of_the_iterations_is_that_of_the_costlier_branch_with_its_predicates():
    turn = next(nested(main_loop(program().loops))).turn
    # Broadcast, sort and its copy, product, predicate; negation, copy, one look at the inner loop;
    # and the loop's own predicate.
    assert turn.kernels == 5 + 3 + 1
    assert turn.waits == 3


def test_a_loop_of_unknown_length_within_is_counted_for_itself():
    iterations, steps = nested(main_loop(program().loops))
    assert iterations.name.endswith("body/while")
    assert steps.turns is None
    assert (steps.turn.kernels, steps.turn.waits) == (2, 1)
    assert steps.turn.bytes == 2 * CHAIN + 5  # a negation, and a comparison of s32 with itself
    assert steps.turn.seconds == 2 * KERNEL_SECONDS + WAIT_SECONDS


def test_a_loop_of_known_length_counts_for_all_turns_and_waits_for_nothing():
    scan = program().loops[0]
    assert scan.turns == 5
    assert (scan.turn.kernels, scan.turn.waits) == (2, 0)
    # A row is read, with its index, and written; then read and written in place.
    assert scan.turn.bytes == 2 * (2 * ROW + 4)


def test_outside_there_is_the_scan_a_round_and_one_look_at_each_loop():
    found = counts(PROGRAM)
    assert (found["kernels"], found["waits"]) == (9, 3)
    assert (found["kernels_loops"], found["waits_loops"]) == ([2], [1])
    # A look at each loop behind the scan, and a round without its iterations.
    assert (found["kernels_outside"], found["waits_outside"]) == (5 * 2 + 2 + 3, 2 + 2)


def test_of_a_sequential_program_an_iteration_is_a_step():
    scan = PROGRAM[: PROGRAM.index("  %w.8")] + PROGRAM[PROGRAM.index("  ROOT %y.7") :]
    found = counts(scan.replace("%w.9", "%w.7"))
    assert (found["kernels"], found["waits"], found["kernels_loops"]) == (2, 0, [])
    assert (found["kernels_outside"], found["waits_outside"]) == (0, 0)


def test_large_kernels_take_as_long_as_their_bytes():
    large = PROGRAM.replace("[100,2]", "[10000000,2]")
    _, steps = nested(main_loop(cost_of_program(large).loops))
    expected = 1.6e8 / BYTES_PER_SECOND + KERNEL_SECONDS + WAIT_SECONDS
    assert steps.turn.seconds == pytest.approx(expected)


@pytest.mark.parametrize("part", ["programs", "widths"])
def test_without_the_plugin_the_suite_is_skipped_with_a_sentence(
    part, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(gpu_programs, "PLUGINS", ("jax_plugins.none", "nowhere.none"))
    main(["run", "--suite", "programs", "--part", part, "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert said.startswith("Skipped: ") and "pip install jax-cuda12-pjrt" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())
