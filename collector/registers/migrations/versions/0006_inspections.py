"""Indicator lists, self-inspections and management reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    with op.batch_alter_table("agents", schema=None) as batch_op:
        batch_op.add_column(sa.Column("states_since", sa.JSON(), nullable=False, server_default="{}"))
    op.create_table(
        "indicator_lists",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("title", sa.String(length=256), nullable=False),
        sa.Column("source", sa.String(length=256), nullable=False),
        sa.Column("count", INT, nullable=False),
        sa.Column("from_us", INT, nullable=False),
        sa.Column("until_us", INT, nullable=False),
        sa.Column("created_us", INT, nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("withdrawn_us", INT, nullable=False),
        sa.Column("withdrawn_by", sa.String(length=64), nullable=False),
        sa.Column("matched_us", INT, nullable=False),
        sa.Column("matches", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_indicator_lists")),
    )
    op.create_table(
        "inspections",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("ordinance", sa.String(length=64), nullable=False),
        sa.Column("edition", sa.String(length=16), nullable=False),
        sa.Column("ground", sa.String(length=64), nullable=False),
        sa.Column("section", sa.String(length=256), nullable=False),
        sa.Column("year", INT, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("facts_us", INT, nullable=False),
        sa.Column("opened_by", sa.String(length=64), nullable=False),
        sa.Column("submitted_us", INT, nullable=False),
        sa.Column("submitted_by", sa.String(length=64), nullable=False),
        sa.Column("reviewed_us", INT, nullable=False),
        sa.Column("reviewed_by", sa.String(length=64), nullable=False),
        sa.Column("review", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspections")),
    )
    op.create_index(op.f("ix_inspections_section"), "inspections", ["section"], unique=False)
    op.create_table(
        "review_remarks",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("year", INT, nullable=False),
        sa.Column("item", INT, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("by", sa.String(length=64), nullable=False),
        sa.Column("time_us", INT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_remarks")),
    )
    op.create_index(op.f("ix_review_remarks_year"), "review_remarks", ["year"], unique=False)
    op.create_table(
        "indicators",
        sa.Column("list_id", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"], ["indicator_lists.id"], name=op.f("fk_indicators_list_id_indicator_lists")
        ),
        sa.PrimaryKeyConstraint("list_id", "kind", "value", name=op.f("pk_indicators")),
    )
    op.create_index("ix_indicators_value", "indicators", ["kind", "value"], unique=False)
    op.create_table(
        "inspection_items",
        sa.Column("id", INT, autoincrement=True, nullable=False),
        sa.Column("inspection_id", sa.String(length=64), nullable=False),
        sa.Column("ordinance", sa.String(length=64), nullable=False),
        sa.Column("article", sa.String(length=64), nullable=False),
        sa.Column("question_ja", sa.Text(), nullable=False),
        sa.Column("question_en", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("proposal", sa.String(length=8), nullable=False),
        sa.Column("answer", sa.String(length=8), nullable=False),
        sa.Column("remark", sa.Text(), nullable=False),
        sa.Column("answered_us", INT, nullable=False),
        sa.Column("answered_by", sa.String(length=64), nullable=False),
        sa.Column("correction", sa.Text(), nullable=False),
        sa.Column("due_us", INT, nullable=False),
        sa.Column("corrected_us", INT, nullable=False),
        sa.Column("corrected_by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["inspection_id"], ["inspections.id"], name=op.f("fk_inspection_items_inspection_id_inspections")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inspection_items")),
    )
    op.create_index(
        op.f("ix_inspection_items_inspection_id"), "inspection_items", ["inspection_id"], unique=False
    )


def downgrade() -> None:
    op.drop_index(op.f("ix_inspection_items_inspection_id"), table_name="inspection_items")
    op.drop_table("inspection_items")
    op.drop_index("ix_indicators_value", table_name="indicators")
    op.drop_table("indicators")
    op.drop_index(op.f("ix_review_remarks_year"), table_name="review_remarks")
    op.drop_table("review_remarks")
    op.drop_index(op.f("ix_inspections_section"), table_name="inspections")
    op.drop_table("inspections")
    op.drop_table("indicator_lists")
    with op.batch_alter_table("agents", schema=None) as batch_op:
        batch_op.drop_column("states_since")
