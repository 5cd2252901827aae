"""State of correlation rules."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "correlation_groups",
        sa.Column("correlation", sa.String(256), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.Column("stored_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("correlation", "digest", "key", name=op.f("pk_correlation_groups")),
    )
    op.create_index(op.f("ix_correlation_groups_stored_us"), "correlation_groups", ["stored_us"])


def downgrade() -> None:
    op.drop_table("correlation_groups")
