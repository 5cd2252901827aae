"""Network addresses of assets, and what was seen on segments."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "own_macs",
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("interface", sa.String(length=256), nullable=False),
        sa.Column("segment", sa.String(length=256), nullable=False),
        sa.Column("hostname", sa.String(length=256), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("first_us", INT, nullable=False),
        sa.Column("last_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "mac", name=op.f("pk_own_macs")),
    )
    op.create_table(
        "neighbours",
        sa.Column("segment", sa.String(length=256), nullable=False),
        sa.Column("mac", sa.String(length=17), nullable=False),
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("ip", sa.String(length=256), nullable=False),
        sa.Column("addresses", sa.JSON(), nullable=False),
        sa.Column("hostname", sa.String(length=256), nullable=False),
        sa.Column("fingerprint", sa.String(length=256), nullable=False),
        sa.Column("randomised", sa.Boolean(), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("why", sa.String(length=16), nullable=False),
        sa.Column("first_us", INT, nullable=False),
        sa.Column("last_us", INT, nullable=False),
        sa.Column("copied_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("segment", "mac", name=op.f("pk_neighbours")),
    )
    op.create_index("ix_neighbours_last_us", "neighbours", ["last_us"], unique=False)
    op.create_table(
        "switch_ports",
        sa.Column("agent_id", sa.String(length=64), nullable=False),
        sa.Column("interface", sa.String(length=256), nullable=False),
        sa.Column("segment", sa.String(length=256), nullable=False),
        sa.Column("switch", sa.String(length=256), nullable=False),
        sa.Column("port", sa.String(length=256), nullable=False),
        sa.Column("ip", sa.String(length=256), nullable=False),
        sa.Column("via", sa.String(length=16), nullable=False),
        sa.Column("seen_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", "interface", name=op.f("pk_switch_ports")),
    )


def downgrade() -> None:
    op.drop_table("switch_ports")
    op.drop_index("ix_neighbours_last_us", table_name="neighbours")
    op.drop_table("neighbours")
    op.drop_table("own_macs")
