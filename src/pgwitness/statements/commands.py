"""A statement's command name from its parse tree, as PostgreSQL's ``CreateCommandTag`` (tcop/utility.c)
names it."""

from typing import Any

_TRANSACTION = {
    "BEGIN": "BEGIN",
    "START": "START TRANSACTION",
    "COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
    "SAVEPOINT": "SAVEPOINT",
    "RELEASE": "RELEASE",
    "ROLLBACK_TO": "ROLLBACK",
    "PREPARE": "PREPARE TRANSACTION",
    "COMMIT_PREPARED": "COMMIT PREPARED",
    "ROLLBACK_PREPARED": "ROLLBACK PREPARED",
}

_FIXED = {
    "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES",
    "AlterRoleStmt": "ALTER ROLE",
    "AlterRoleSetStmt": "ALTER ROLE",
    "AlterSeqStmt": "ALTER SEQUENCE",
    "AlterSystemStmt": "ALTER SYSTEM",
    "AlterDatabaseStmt": "ALTER DATABASE",
    "AlterDatabaseSetStmt": "ALTER DATABASE",
    "AlterEnumStmt": "ALTER TYPE",
    "AlterExtensionStmt": "ALTER EXTENSION",
    "AlterFunctionStmt": "ALTER FUNCTION",
    "AlterPolicyStmt": "ALTER POLICY",
    "AlterPublicationStmt": "ALTER PUBLICATION",
    "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
    "AlterUserMappingStmt": "ALTER USER MAPPING",
    "AlterForeignServerStmt": "ALTER SERVER",
    "CallStmt": "CALL",
    "CheckPointStmt": "CHECKPOINT",
    "ClosePortalStmt": "CLOSE CURSOR",
    "ClusterStmt": "CLUSTER",
    "CommentStmt": "COMMENT",
    "CompositeTypeStmt": "CREATE TYPE",
    "ConstraintsSetStmt": "SET CONSTRAINTS",
    "CopyStmt": "COPY",
    "CreateEnumStmt": "CREATE TYPE",
    "CreateRangeStmt": "CREATE TYPE",
    "CreateDomainStmt": "CREATE DOMAIN",
    "CreateExtensionStmt": "CREATE EXTENSION",
    "CreateForeignServerStmt": "CREATE SERVER",
    "CreateForeignTableStmt": "CREATE FOREIGN TABLE",
    "CreatePolicyStmt": "CREATE POLICY",
    "CreatePublicationStmt": "CREATE PUBLICATION",
    "CreateRoleStmt": "CREATE ROLE",
    "CreateSchemaStmt": "CREATE SCHEMA",
    "CreateSeqStmt": "CREATE SEQUENCE",
    "CreateStatsStmt": "CREATE STATISTICS",
    "CreateStmt": "CREATE TABLE",
    "CreateSubscriptionStmt": "CREATE SUBSCRIPTION",
    "CreateTableSpaceStmt": "CREATE TABLESPACE",
    "CreateTrigStmt": "CREATE TRIGGER",
    "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
    "CreateUserMappingStmt": "CREATE USER MAPPING",
    "CreatedbStmt": "CREATE DATABASE",
    "DeallocateStmt": "DEALLOCATE",
    "DeclareCursorStmt": "DECLARE CURSOR",
    "DeleteStmt": "DELETE",
    "DoStmt": "DO",
    "DropOwnedStmt": "DROP OWNED",
    "DropRoleStmt": "DROP ROLE",
    "DropSubscriptionStmt": "DROP SUBSCRIPTION",
    "DropTableSpaceStmt": "DROP TABLESPACE",
    "DropUserMappingStmt": "DROP USER MAPPING",
    "DropdbStmt": "DROP DATABASE",
    "ExecuteStmt": "EXECUTE",
    "ExplainStmt": "EXPLAIN",
    "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA",
    "IndexStmt": "CREATE INDEX",
    "InsertStmt": "INSERT",
    "ListenStmt": "LISTEN",
    "LoadStmt": "LOAD",
    "LockStmt": "LOCK TABLE",
    "MergeStmt": "MERGE",
    "NotifyStmt": "NOTIFY",
    "PrepareStmt": "PREPARE",
    "ReassignOwnedStmt": "REASSIGN OWNED",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW",
    "ReindexStmt": "REINDEX",
    "RuleStmt": "CREATE RULE",
    "SecLabelStmt": "SECURITY LABEL",
    "SelectStmt": "SELECT",
    "TruncateStmt": "TRUNCATE TABLE",
    "UnlistenStmt": "UNLISTEN",
    "UpdateStmt": "UPDATE",
    "VariableShowStmt": "SHOW",
    "ViewStmt": "CREATE VIEW",
}

# the field that says what kind of object it is about, and the verb
_BY_OBJECT = {
    "AlterObjectSchemaStmt": ("objectType", "ALTER"),
    "AlterOwnerStmt": ("objectType", "ALTER"),
    "AlterTableStmt": ("objtype", "ALTER"),
    "CreateTableAsStmt": ("objtype", "CREATE"),
    "DefineStmt": ("kind", "CREATE"),
    "DropStmt": ("removeType", "DROP"),
    "RenameStmt": ("renameType", "ALTER"),
}

_OBJECTS = {
    "OBJECT_ATTRIBUTE": "TYPE",
    "OBJECT_COLUMN": "TABLE",
    "OBJECT_DOMCONSTRAINT": "DOMAIN",
    "OBJECT_FDW": "FOREIGN DATA WRAPPER",
    "OBJECT_FOREIGN_SERVER": "SERVER",
    "OBJECT_MATVIEW": "MATERIALIZED VIEW",
    "OBJECT_OPCLASS": "OPERATOR CLASS",
    "OBJECT_OPFAMILY": "OPERATOR FAMILY",
    "OBJECT_STATISTIC_EXT": "STATISTICS",
    "OBJECT_TABCONSTRAINT": "TABLE",
    "OBJECT_TSCONFIGURATION": "TEXT SEARCH CONFIGURATION",
    "OBJECT_TSDICTIONARY": "TEXT SEARCH DICTIONARY",
    "OBJECT_TSPARSER": "TEXT SEARCH PARSER",
    "OBJECT_TSTEMPLATE": "TEXT SEARCH TEMPLATE",
}


def command_of(node: str, tree: dict[str, Any]) -> str | None:
    """``node`` is the tree's node name, as ``UpdateStmt``. None if only the server's tag can tell."""
    if fixed := _FIXED.get(node):
        return fixed
    if node == "TransactionStmt":
        return _TRANSACTION.get(tree["kind"].removeprefix("TRANS_STMT_"))
    if node in _BY_OBJECT:
        field, verb = _BY_OBJECT[node]
        kind: str = tree.get(field, "OBJECT_ACCESS_METHOD")
        name = _OBJECTS.get(kind, kind.removeprefix("OBJECT_").replace("_", " "))
        return f"{verb} {name} AS" if node == "CreateTableAsStmt" and name == "TABLE" else f"{verb} {name}"
    return _by_flag(node, tree)


def _by_flag(node: str, tree: dict[str, Any]) -> str | None:
    if node == "VariableSetStmt":
        return "RESET" if tree["kind"] in ("VAR_RESET", "VAR_RESET_ALL") else "SET"
    if node == "FetchStmt":
        return "MOVE" if tree.get("ismove") else "FETCH"
    if node == "GrantStmt":
        return "GRANT" if tree.get("is_grant") else "REVOKE"
    if node == "GrantRoleStmt":
        return "GRANT ROLE" if tree.get("is_grant") else "REVOKE ROLE"
    if node == "VacuumStmt":
        return "VACUUM" if tree.get("is_vacuumcmd") else "ANALYZE"
    if node == "DiscardStmt":
        return str(tree["target"]).replace("_", " ")
    if node == "CreateFunctionStmt":
        return "CREATE PROCEDURE" if tree.get("is_procedure") else "CREATE FUNCTION"
    return None
