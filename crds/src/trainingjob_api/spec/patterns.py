"""The forms that texts in a manifest must have, each with the words that explain it to a person. Pure.

Python, the API server (RE2) and JSON schema all read these the same way.
"""

LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
KEY_PATTERN = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
VALUE_PATTERN = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$"
DATA_KEY_PATTERN = r"^[-._a-zA-Z0-9]+$"
VARIABLE_PATTERN = r"^[-._a-zA-Z][-._a-zA-Z0-9]*$"
IDENTIFIER_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
CLASS_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
IMAGE_PATTERN = r"^\S+$"
MOUNT_PATTERN = r"^/[^:]*$"
STORAGE_PATTERN = r"^((s3|gs|az)://[^/?#\s@]+(/[^?#\s]*)?|file:///[^?#\x00-\x1f]*)$"
ENDPOINT_PATTERN = r"^https?://[^/?#\s@]+(/[^?#\s]*)?$"
CIDR_PATTERN = r"^([0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}/[0-9]{1,2}|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*/[0-9]{1,3})$"
REGION_PATTERN = r"^[a-z0-9-]+$"
REQUEST_PATTERN = r"^[A-Za-z0-9][-A-Za-z0-9_.:]*$"

FORMS = {
    LABEL_PATTERN: "lower case letters, digits and dashes, beginning and ending with a letter or digit",
    SUBDOMAIN_PATTERN: "lower case letters, digits, dashes and dots, beginning and ending with a letter or digit",
    KEY_PATTERN: "letters, digits, dashes, dots and underscores, with a domain/ before it if wanted",
    VALUE_PATTERN: "letters, digits, dashes, dots and underscores",
    QUANTITY_PATTERN: "a whole number, or a text such as '0.5', 500m or 4Gi",
    DATA_KEY_PATTERN: "letters, digits, dashes, dots and underscores",
    VARIABLE_PATTERN: "letters, digits, dashes, dots and underscores, beginning with no digit",
    IDENTIFIER_PATTERN: "letters, digits and underscores, beginning with no digit",
    CLASS_PATTERN: "module:Class, such as trainingjob_trainer.tasks.digits:Digits",
    IMAGE_PATTERN: "an image's name, without spaces",
    MOUNT_PATTERN: "an absolute path without a colon, such as /data",
    STORAGE_PATTERN: "s3://bucket/path, gs://bucket/path, az://container/path or file:///absolute/path, without a password",
    ENDPOINT_PATTERN: "http://host:port or https://host:port, without a password",
    CIDR_PATTERN: "addresses and the length of what they share, such as 10.0.0.0/8 or 2001:db8::/32",
    REGION_PATTERN: "a region's name, such as eu-west-1",
    REQUEST_PATTERN: "letters, digits, dashes, dots, colons and underscores, beginning with a letter or digit",
}
"""What each pattern asks for."""
