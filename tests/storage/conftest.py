"""These tests are about what reaches the disk, so that is where they have their files."""

import pytest

from support.folders import folder_on_disk


@pytest.fixture
def tmp_path():
    with folder_on_disk() as folder:
        yield folder
