"""Releases by ring, and proposals for the registers."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("releases", schema=None) as batch_op:
        batch_op.add_column(sa.Column("ring", sa.String(length=32), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("promoted_us", INT, nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("rollback_of", INT, nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("study_id", INT, nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("untested", sa.Text(), nullable=False, server_default=""))
    _studies()
    _proposals()
    _batches()


def _studies() -> None:
    op.create_table(
        "studies",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("done", INT, nullable=False),
        sa.Column("total", INT, nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("finished_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
    )
    with op.batch_alter_table("studies", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_studies_content"), ["content"], unique=False)
        batch_op.create_index(batch_op.f("ix_studies_state"), ["state"], unique=False)


def _proposals() -> None:
    op.create_table(
        "proposals",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.JSON(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("pcs", INT, nullable=False),
        sa.Column("sections", sa.JSON(), nullable=False),
        sa.Column("section", sa.String(length=256), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("times", INT, nullable=False),
        sa.Column("first_us", INT, nullable=False),
        sa.Column("last_us", INT, nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=False),
        sa.Column("decided_us", INT, nullable=False),
        sa.Column("batch_id", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_proposals")),
    )
    with op.batch_alter_table("proposals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_proposals_kind"), ["kind"], unique=False)
        batch_op.create_index(batch_op.f("ix_proposals_state"), ["state"], unique=False)
    op.create_table(
        "allowances",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.JSON(), nullable=False),
        sa.Column("zone", sa.String(length=64), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allowances")),
    )


def _batches() -> None:
    op.create_table(
        "change_batches",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("rows", INT, nullable=False),
        sa.Column("unchanged", INT, nullable=False),
        sa.Column("bad", sa.JSON(), nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("applied_us", INT, nullable=False),
        sa.Column("applied_by", sa.String(length=64), nullable=False),
        sa.Column("closed_us", INT, nullable=False),
        sa.Column("closed_by", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_batches")),
    )
    with op.batch_alter_table("change_batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_change_batches_state"), ["state"], unique=False)
    op.create_table(
        "change_rows",
        sa.Column("batch_id", sa.String(length=32), nullable=False),
        sa.Column("number", INT, nullable=False),
        sa.Column("register", sa.String(length=16), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["change_batches.id"], name=op.f("fk_change_rows_batch_id_change_batches")
        ),
        sa.PrimaryKeyConstraint("batch_id", "number", name=op.f("pk_change_rows")),
    )


def downgrade() -> None:
    for table in ("change_rows", "change_batches", "allowances", "proposals", "studies"):
        op.drop_table(table)
    with op.batch_alter_table("releases", schema=None) as batch_op:
        for column in ("untested", "study_id", "rollback_of", "promoted_us", "ring"):
            batch_op.drop_column(column)
