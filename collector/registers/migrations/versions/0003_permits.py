"""Applications for permits, their decisions, and the use of permits."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.alter_column("kind", type_=sa.String(length=32), existing_nullable=False)
        batch_op.add_column(sa.Column("no_confidential", sa.Boolean(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("conditions", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("basis", sa.String(length=16), nullable=False, server_default=""))
        batch_op.add_column(sa.Column("contract", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("renews", sa.String(length=64), nullable=False, server_default=""))
        batch_op.create_index(batch_op.f("ix_permits_renews"), ["renews"], unique=False)
    op.create_table(
        "applications",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("request", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("state_us", INT, nullable=False),
        sa.Column("applicant", sa.String(length=256), nullable=False),
        sa.Column("section", sa.String(length=256), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.JSON(), nullable=False),
        sa.Column("scope", sa.JSON(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("days", INT, nullable=False),
        sa.Column("basis", sa.String(length=16), nullable=False),
        sa.Column("contract", sa.JSON(), nullable=False),
        sa.Column("refused_by", sa.String(length=256), nullable=False),
        sa.Column("renews", sa.String(length=64), nullable=False),
        sa.Column("permit_id", sa.String(length=64), nullable=False),
        sa.Column("applied_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_applications")),
        sa.UniqueConstraint("agent_id", "request", name=op.f("uq_applications_agent_id")),
    )
    op.create_index(op.f("ix_applications_state"), "applications", ["state"], unique=False)
    op.create_index(op.f("ix_applications_applied_us"), "applications", ["applied_us"], unique=False)
    op.create_table(
        "permit_steps",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("application_id", sa.String(length=64), nullable=False),
        sa.Column("permit_id", sa.String(length=64), nullable=False),
        sa.Column("step", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("time_us", INT, nullable=False),
        sa.Column("person", sa.String(length=256), nullable=False),
        sa.Column("office", sa.String(length=64), nullable=False),
        sa.Column("operator", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_permit_steps")),
    )
    op.create_index(op.f("ix_permit_steps_application_id"), "permit_steps", ["application_id"], unique=False)
    op.create_index(op.f("ix_permit_steps_permit_id"), "permit_steps", ["permit_id"], unique=False)
    _keep("permit_steps")
    op.create_table(
        "permit_uses",
        sa.Column("permit_id", sa.String(length=64), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("person", sa.String(length=256), nullable=False),
        sa.Column("day", INT, nullable=False),
        sa.Column("count", INT, nullable=False),
        sa.Column("attempts", INT, nullable=False),
        sa.Column("first_us", INT, nullable=False),
        sa.Column("last_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("permit_id", "agent_id", "person", "day", name=op.f("pk_permit_uses")),
    )
    op.create_index("ix_permit_uses_last", "permit_uses", ["permit_id", "last_us"], unique=False)


def _keep(table: str) -> None:
    """Make rows of a table last: a paper trail that can be changed afterwards is none."""
    for deed in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{deed.lower()} BEFORE {deed} ON {table}"
            f" BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def downgrade() -> None:
    for table in ("permit_uses", "permit_steps", "applications"):
        op.drop_table(table)
    with op.batch_alter_table("permits", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_permits_renews"))
        for name in ("renews", "contract", "basis", "conditions", "no_confidential"):
            batch_op.drop_column(name)
        batch_op.alter_column("kind", type_=sa.String(length=16), existing_nullable=False)
