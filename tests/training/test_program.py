"""Programs read from their text: against XLA's own counts where it counts right, and against lines written out."""

import jax
import jax.numpy as jnp
import pytest

from videopoet_jax.parallel import make_mesh
from videopoet_jax.training.program import read_program

LAYERS, ROWS, WIDTH = 6, 32, 64


def scanned(w, x):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0].sum()


def unrolled(w, x):
    for i in range(LAYERS):
        x = jnp.tanh(x @ w[i])
    return x.sum()


def compiled(function):
    shapes = jax.ShapeDtypeStruct((LAYERS, WIDTH, WIDTH), jnp.float32), jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32)
    return jax.jit(jax.grad(function)).lower(*shapes).compile()


def test_a_loops_body_counts_as_often_as_it_runs():
    wanted = compiled(unrolled).cost_analysis()["flops"]
    program, once = read_program(compiled(scanned).as_text()), compiled(scanned).cost_analysis()["flops"]
    assert program.flops == pytest.approx(wanted, rel=0.05)
    assert once < 0.5 * program.flops  # what XLA says of the loop


def test_recomputation_counts():
    plain, again = (read_program(compiled(f).as_text()).flops for f in (scanned, remat))
    assert again == pytest.approx(4 / 3 * plain, rel=0.1)


def remat(w, x):
    layer = jax.checkpoint(lambda x, w: (jnp.tanh(x @ w), None), prevent_cse=False)
    return jax.lax.scan(layer, x, w)[0].sum()


def test_collectives_by_kind_and_bytes_and_how_often():
    mesh = make_mesh(data=1, fsdp=8)
    place = jax.NamedSharding(mesh, jax.P(None, "fsdp", None))
    w = jax.ShapeDtypeStruct((LAYERS, WIDTH, WIDTH), jnp.float32, sharding=place)
    x = jax.ShapeDtypeStruct((ROWS, WIDTH), jnp.float32, sharding=jax.NamedSharding(mesh, jax.P("fsdp")))

    def layer(x, w):
        whole = jax.lax.with_sharding_constraint(w, jax.P())
        return jax.lax.with_sharding_constraint(jnp.tanh(x @ whole), jax.P("fsdp")), None

    with jax.set_mesh(mesh):
        text = jax.jit(lambda w, x: jax.lax.scan(layer, x, w)[0]).lower(w, x).compile().as_text()
    moved = {}
    for times, collective in read_program(text).collectives():
        assert len(collective.group) == 8
        moved[collective.kind] = moved.get(collective.kind, 0) + times * collective.bytes
    assert moved == {"all-gather": LAYERS * WIDTH * WIDTH * 4}


MODULE = """HloModule m, is_scheduled=true

%none (a: f32[8]) -> f32[8] {
  ROOT %a = f32[8]{0} parameter(0)
}

%some (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %w = f32[8,8]{1,0} constant({...})
  ROOT %d = f32[8]{0} dot(%b, %w), lhs_contracting_dims={0}, rhs_contracting_dims={0}, metadata={op_name="score_x"}
}

%fused (p: bf16[4,16,32], k: bf16[3,32,64]) -> bf16[4,14,64] {
  %p = bf16[4,16,32]{2,1,0} parameter(0)
  %k = bf16[3,32,64]{2,1,0} parameter(1)
  %all-gather.1 = f32[8]{0} all-gather(%q), channel_id=3, replica_groups={{0,1},{2,3}}, dimensions={0}
  ROOT %c = bf16[4,14,64]{2,1,0} convolution(%p, %k), window={size=3}, dim_labels=b0f_0io->b0f
}

%begin (part: f32[4]) -> (f32[4], f32[8]) {
  %part = f32[4]{0} parameter(0)
  %all-gather.2 = f32[8]{0} all-gather(%part), channel_id=5, replica_groups={{0,1},{2,3}}, dimensions={0}
  ROOT %begun = (f32[4]{0}, f32[8]{0}) custom-call(%all-gather.2), custom_call_target="AsyncCollectiveStart"
}

%meanwhile (four: f32[4], eight: f32[8], h: f32[6,2]) -> (f32[6,2], f32[4], f32[8]) {
  %four = f32[4]{0} parameter(0)
  %eight = f32[8]{0} parameter(1)
  %h = f32[6,2]{1,0} parameter(2)
  %negative = f32[6,2]{1,0} negate(%h)
  %all-gather.3 = f32[8]{0} all-gather(%four), channel_id=5, replica_groups={{0,1},{2,3}}, dimensions={0}
  ROOT %together = (f32[6,2]{1,0}, f32[4]{0}, f32[8]{0}) tuple(%negative, %four, %all-gather.3)
}

%pair (h2: f32[6,2]) -> (f32[6,2], f32[6,2]) {
  %h2 = f32[6,2]{1,0} parameter(0)
  %minus = f32[6,2]{1,0} negate(%h2)
  %sine = f32[6,2]{1,0} sine(%h2)
  ROOT %two = (f32[6,2]{1,0}, f32[6,2]{1,0}) tuple(%minus, %sine)
}

%inner (stack: bf16[6,8,32]) -> bf16[8,32] {
  %stack = bf16[6,8,32]{2,1,0} parameter(0)
  %n = s32[] constant(2)
  %one = bf16[1,8,32]{2,1,0} dynamic-slice(%stack, %n, %n, %n), dynamic_slice_sizes={1,8,32}
  ROOT %flat = bf16[8,32]{1,0} bitcast(%one)
}

%outer (all: bf16[6,8,32]) -> bf16[8,32] {
  %all = bf16[6,8,32]{2,1,0} parameter(0)
  ROOT %part = bf16[8,32]{1,0} fusion(%all), kind=kLoop, calls=%inner
}

ENTRY %main (x: f32[8], y: bf16[4,16,32], z: bf16[3,32,64]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %y = bf16[4,16,32]{2,1,0:T(8,128)(2,1)} parameter(1)
  %z = bf16[3,32,64]{2,1,0:T(8,128)(2,1)S(1)} parameter(2)
  %f = bf16[4,14,64]{2,1,0} fusion(%y, %z), kind=kOutput, calls=%fused
  %g = bf16[4,14,64]{2,1,0} fusion(%y, %z), kind=kOutput, calls=%fused
  %t = token[] after-all()
  %q = bf16[6,8,32]{2,1,0} parameter(3)
  %layer = bf16[8,32]{1,0} fusion(%q), kind=kLoop, calls=%outer
  %ahead = ((bf16[6,8,32]{2,1,0}), bf16[2,8,32]{2,1,0:T(8,128)(2,1)S(1)}, s32[]) slice-start(%q), slice={[0:2]}
  %begun.1 = (f32[4]{0}, f32[8]{0}) fusion(%x), kind=kCustom, calls=%begin
  %four.1 = f32[4]{0} get-tuple-element(%begun.1), index=0
  %eight.1 = f32[8]{0} get-tuple-element(%begun.1), index=1
  %h.1 = f32[6,2]{1,0} parameter(4)
  %both = (f32[6,2]{1,0}, f32[4]{0}, f32[8]{0}) fusion(%four.1, %eight.1, %h.1), kind=kLoop, calls=%meanwhile
  %two.1 = (f32[6,2]{1,0}, f32[6,2]{1,0}) fusion(%h.1), kind=kLoop, calls=%pair
  %info = s16[1,7,7]{2,1,0} parameter(5)
  %one_row = bf16[2,16,32]{2,1,0} parameter(6)
  %rows = bf16[3,2,16,32]{3,2,1,0} parameter(7)
  %splash_fwd.1 = bf16[2,16,32]{2,1,0} custom-call(%info, %one_row, %one_row), custom_call_target="tpu_custom_call"
  %splash_dq.1 = bf16[3,2,16,32]{3,2,1,0} custom-call(%info, %rows, %rows), custom_call_target="tpu_custom_call"
  %send.1 = (f32[100]{0}, u32[], token[]) send(%x, %t), channel_id=9, is_host_transfer=true
  %rs = f32[2]{0} reduce-scatter(%x), channel_id=4, replica_groups=[2,4]<=[8], dimensions={0}
  ROOT %if = f32[8]{0} conditional(%p, %x, %x), true_computation=%some, false_computation=%none
}
"""

ATTENTION = 2 * 2 * (2 * 16 * 16 * 32) + 3 * 2 * (3 * 2 * 16 * 16 * 32)  # of one row and of three, 2 heads


def test_lines_written_out():
    program = read_program(MODULE, share=lambda scope: 0.25 if "score_x" in scope else 1.0)
    convolution = 2 * 4 * 14 * 64 * 3 * 32
    assert program.flops == 2 * convolution + 0.25 * 2 * 8 * 8 + ATTENTION
    assert sorted(c for _, c in program.collectives()) == [
        ("all-gather", 32.0, (0, 1), True),  # written in two fusions, done once, beside them
        ("all-gather", 32.0, (0, 1), True),  # begun in one, going on in another
        ("reduce-scatter", 32.0, (0, 1, 2, 3), False),
        ("send", 400.0, (), True),
    ]
    assert program.bytes_by_kind() == {"all-gather": 64, "network": 400, "reduce-scatter": 32}
    main = max(program.blocks, key=lambda block: len(block.work))
    assert main.work[0] == (convolution, 2 * (4 * 16 * 32 + 4 * 14 * 64))  # the kernel lies on the chip
    assert main.work[2] == (0.0, 2 * 2 * 8 * 32)  # a layer of six, read by a fusion inside a fusion, and written
    assert main.work[4] == (0.0, 2 * 6 * 2 * 4)  # what a collective brings meanwhile is not its traffic
    assert main.work[5] == (0.0, 3 * 6 * 2 * 4)  # one read, two written
    assert main.work[3] == (0.0, 2 * 2 * 8 * 32)  # two layers read, onto the chip


def test_padding_meets_no_values():
    text = MODULE.replace("window={size=3}", "window={size=3 pad=1_1}").replace("bf16[4,14,64]", "bf16[4,16,64]")
    program = read_program(text, share=lambda scope: 0.0 if "score_x" in scope else 1.0)
    assert program.flops == 2 * 2 * 4 * 64 * 32 * (16 * 3 - 2) + ATTENTION


@pytest.mark.parametrize(
    ("form", "group"),
    [
        ("{{0,1,2},{3,4,5}}", (0, 1, 2)),
        ("[2,4]<=[8]", (0, 1, 2, 3)),
        ("[4,2]<=[2,4]T(1,0)", (0, 4)),
        ("mesh['x'=2,'y'=4] {'x'}", (0, 4)),
        ("mesh['x'=2,'y'=4] {'y'}", (0, 1, 2, 3)),
    ],
)
def test_groups_in_every_form(form, group):
    text = MODULE.replace("[2,4]<=[8]", form)
    assert group in [c.group for _, c in read_program(text).collectives() if c.kind == "reduce-scatter"]


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="not the text of an HLO module"):
        read_program("hello")
