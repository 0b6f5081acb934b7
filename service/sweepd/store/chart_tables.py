"""Presets of custom charts, which people make for their own tables."""

from sqlalchemy import Column, Float, ForeignKey, Integer, Table, Text, UniqueConstraint

from sweepd.store.tables import metadata

__all__ = ["chart_preset"]

chart_preset = Table(
    "chart_preset",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("entity_id", Integer, ForeignKey("entity.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("display_name", Text, nullable=False),
    Column("is_public", Integer, nullable=False),  # whether every user may see it
    Column("spec", Text, nullable=False),  # JSON, in the Vega-Lite language
    Column("user_id", Integer, ForeignKey("user.id", ondelete="SET NULL")),
    Column("updated_at", Float, nullable=False),
    UniqueConstraint("entity_id", "name"),
)
