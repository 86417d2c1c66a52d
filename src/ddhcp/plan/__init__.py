"""How large a pool, its blocks and its times should be: the arithmetic behind ``ddhcp-plan``. Pure."""

from .sizing import Demand, Plan, PlanError, make_plan

__all__ = ["Demand", "Plan", "PlanError", "make_plan"]
